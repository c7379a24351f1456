"""Loggers that a resumed run continues, so that each step is logged once."""

from dopd_lightning.loggers.continued import ContinuedLogger, continue_loggers, continued
from dopd_lightning.loggers.csv import CSVLogger
from dopd_lightning.loggers.tensorboard import TensorBoardLogger
from dopd_lightning.loggers.wandb import WandbLogger

__all__ = ["CSVLogger", "ContinuedLogger", "TensorBoardLogger", "WandbLogger", "continue_loggers", "continued"]
