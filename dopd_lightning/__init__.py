"""Dual on-policy distillation of language models on PyTorch Lightning (DOPD, arXiv 2606.30626)."""

from dopd_lightning.data import DOPDDataModule, PromptFormat
from dopd_lightning.errors import ConfigError, DataError
from dopd_lightning.fusion import Regime
from dopd_lightning.moved import find_moved
from dopd_lightning.record import TokenRecord
from dopd_lightning.sources import reference_of_kind as Reference
from dopd_lightning.training.module import DOPDModule
from dopd_lightning.training.non_finite import NonFiniteLossError
from dopd_lightning.training.privileged import PrivilegedAccess

__version__ = "0.1.0"

find_moved()

__all__ = [
    "ConfigError",
    "DOPDDataModule",
    "DOPDModule",
    "DataError",
    "NonFiniteLossError",
    "PrivilegedAccess",
    "PromptFormat",
    "Reference",
    "Regime",
    "TokenRecord",
]
