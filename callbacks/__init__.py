"""Lightning callbacks, for this project's runs and anyone's; imported as ``dopd_lightning.callbacks``."""

from dopd_lightning.callbacks.export_student import ExportStudent, save_student
from dopd_lightning.callbacks.resumable_checkpoint import ResumableCheckpoint, RunStopped

__all__ = ["ExportStudent", "ResumableCheckpoint", "RunStopped", "save_student"]
