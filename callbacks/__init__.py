"""Lightning callbacks, for this project's runs and anyone's; imported as ``dopd_lightning.callbacks``."""

from dopd_lightning.callbacks.export_student import ExportStudent, save_student

__all__ = ["ExportStudent", "save_student"]
