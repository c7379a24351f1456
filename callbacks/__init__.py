"""Lightning callbacks, for this project's runs and anyone's; imported as ``dopd_lightning.callbacks``."""

from dopd_lightning.callbacks.collapse_guard import CollapseGuard
from dopd_lightning.callbacks.continued_logs import ContinuedLogs
from dopd_lightning.callbacks.divergence_map import DivergenceMap
from dopd_lightning.callbacks.export_student import ExportStudent, save_student
from dopd_lightning.callbacks.live_console import LiveConsole
from dopd_lightning.callbacks.resumable_checkpoint import ResumableCheckpoint, RunStopped
from dopd_lightning.callbacks.speed import Speed

__all__ = [
    "CollapseGuard",
    "ContinuedLogs",
    "DivergenceMap",
    "ExportStudent",
    "LiveConsole",
    "ResumableCheckpoint",
    "RunStopped",
    "Speed",
    "save_student",
]
