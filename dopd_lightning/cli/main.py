"""The entry point: Hydra composes the configuration, a stage runs it."""

from __future__ import annotations

import warnings

import hydra
from lightning.fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig

from dopd_lightning.callbacks import RunStopped
from dopd_lightning.cli.resolvers import register_resolvers
from dopd_lightning.cli.stages import run_stage
from dopd_lightning.errors import ConfigError, DataError, EngineError, WriteError
from dopd_lightning.non_finite import NonFiniteLossError

register_resolvers()

# What the user can mend; a traceback would bury it.
_SAID_IN_A_SENTENCE = (
    ConfigError,
    DataError,
    EngineError,
    NonFiniteLossError,
    WriteError,
    MisconfigurationException,
)


@hydra.main(version_base="1.3", config_path="pkg://dopd_lightning.conf", config_name="config")
def main(config: DictConfig) -> float | None:
    """Run one stage; the value is the objective of a sweep."""
    _silence_dependencies()
    try:
        return run_stage(config)
    except RunStopped as stop:
        if stop.rank == 0:
            print(f"\n{stop}; go on with ckpt_path=auto", flush=True)
            raise SystemExit(128 + stop.signal) from None  # as a shell reports a process that the signal ended
        raise SystemExit(0) from None  # or Lightning would kill the others before they have said so
    except _SAID_IN_A_SENTENCE as error:
        raise SystemExit(f"\nerror: {error}") from error


def _silence_dependencies() -> None:
    """Warnings about which users can do nothing: each has its cause inside Lightning or torchdata, or on purpose."""
    warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\).* is deprecated")
    warnings.filterwarnings("ignore", message="'set_vital' is deprecated")
    # Every run has a folder of its own, and so has one that goes on from another's checkpoint.
    warnings.filterwarnings("ignore", message="The dirpath has changed from .*/checkpoints' to ")
