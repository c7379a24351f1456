"""The entry point: Hydra composes the configuration, a stage runs it."""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig
from transformers.utils.logging import disable_progress_bar

from dopd_lightning.callbacks import RunStopped
from dopd_lightning.cli.failure import all_have_failed, is_first_to_fail, sentence_of, several_processes
from dopd_lightning.cli.group_choices import check_choices
from dopd_lightning.cli.resolvers import register_resolvers
from dopd_lightning.cli.stages import run_stage
from dopd_lightning.errors import ConfigError

register_resolvers()


def main() -> None:
    """Compose the configuration from the words of the command line, and run what it says."""
    try:
        check_choices(sys.argv[1:])
    except ConfigError as error:
        raise SystemExit(f"\nerror: {error}") from None
    _run()


@hydra.main(version_base="1.3", config_path="pkg://dopd_lightning.conf", config_name="config")
def _run(config: DictConfig) -> float | None:
    """Run one stage; the value is the objective of a sweep."""
    _silence_dependencies()
    try:
        return run_stage(config)
    except RunStopped as stop:
        if stop.rank == 0:
            print(f"\n{stop}; go on with ckpt_path=auto", flush=True)
            raise SystemExit(128 + stop.signal) from None  # as a shell reports a process that the signal ended
        raise SystemExit(0) from None  # or Lightning would kill the others before they have said so
    except (KeyboardInterrupt, SystemExit) as end:
        # Ctrl-C outside training. Lightning turns it into an exit.
        if isinstance(end, SystemExit) and not isinstance(end.__context__, KeyboardInterrupt):
            raise
        _say_interrupted(_folder())
        raise SystemExit(130) from None
    except Exception as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        _say_failed(error, _folder())
        return None


def _say_interrupted(folder: Path) -> None:
    if not several_processes() or int(os.environ.get("LOCAL_RANK") or 0) == 0:
        saved = "; go on with ckpt_path=auto" if (folder / "checkpoints" / "last.ckpt").exists() else ""
        print(f"\nstopped by SIGINT outside of training; nothing more was saved{saved}", flush=True)


def _say_failed(error: Exception, folder: Path) -> None:
    """End this process with what there is to say, in one process of a run; a sweep goes on with the next job.

    Of several processes a sweep goes on if all have failed: one that has failed alone would leave the others waiting.
    """
    sentence = sentence_of(error)
    first = is_first_to_fail(folder, sentence or f"{type(error).__name__}: {error}")
    goes_on = HydraConfig.get().mode == RunMode.MULTIRUN and all_have_failed(folder)
    if not first:
        if not goes_on:
            raise SystemExit(1) from None
        return
    if not goes_on:
        if sentence is None:
            raise error
        raise SystemExit(f"\nerror: {sentence}") from error
    if sentence is None:
        traceback.print_exception(error)
    else:
        print(f"\nerror: {sentence}", file=sys.stderr, flush=True)


def _folder() -> Path:
    return Path(HydraConfig.get().runtime.output_dir)


def _silence_dependencies() -> None:
    """Leave out what users can do nothing about: each has its cause inside a library, or on purpose."""
    if not sys.stderr.isatty():  # a file would keep each state of the bars of loading and saving
        disable_progress_bar()  # type: ignore[no-untyped-call]
    warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\).* is deprecated")
    warnings.filterwarnings("ignore", message="'set_vital' is deprecated")
    # Every run has a folder of its own, and so has one that goes on from another's checkpoint.
    warnings.filterwarnings("ignore", message="The dirpath has changed from .*/checkpoints' to ")
