"""The configuration's resolvers, such as ``${default:…}`` and ``${began:}``."""

from __future__ import annotations

import functools
import inspect
import os
from datetime import datetime
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf

from dopd_lightning.cli.hydra_callbacks import BEGAN

_signature = functools.cache(inspect.signature)  # a run asks hundreds of times


def default_of(path: str) -> Any:
    """The default of a parameter, so that Python signatures stay the one place where defaults are.

    ``${default:rollout.StudentRollout.temperature}`` is the default of ``temperature`` in
    ``dopd_lightning.rollout.StudentRollout``.
    """
    *module, owner, parameter = path.split(".")
    callable_ = getattr(import_module(".".join(["dopd_lightning", *module])), owner)
    default = _signature(callable_).parameters[parameter].default
    if default is inspect.Parameter.empty:
        raise ValueError(f"{path}: this parameter has no default")
    return OmegaConf.create(list(default)) if isinstance(default, tuple) else default


def asset(name: str) -> str:
    """Folder of a model that comes with the package, such as ``${asset:quickstart_teacher}``."""
    return str(files("dopd_lightning") / "assets" / name)


def began() -> str:
    """Return when the run began, which names its folder: the same in all processes that Lightning starts for it.

    Those run the whole command again, and would each find a time, and a folder, of their own.
    """
    return os.environ.get(BEGAN) or datetime.now().strftime("%Y-%m-%d_%H-%M-%S")


def sweep_name() -> str | None:
    """The name of the sweep's folder, in one of its jobs."""
    return Path(HydraConfig.get().sweep.dir).name if _in_sweep() else None


def sweep_job() -> str:
    """``_`` and the job's number, in a sweep; nothing elsewhere."""
    return f"_{HydraConfig.get().job.num}" if _in_sweep() else ""


def _in_sweep() -> bool:
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def register_resolvers() -> None:
    """Make them known to OmegaConf; any number of times."""
    OmegaConf.register_new_resolver("default", default_of, replace=True)
    OmegaConf.register_new_resolver("asset", asset, replace=True)
    OmegaConf.register_new_resolver("began", began, replace=True, use_cache=True)
    OmegaConf.register_new_resolver("sweep_name", sweep_name, replace=True)
    OmegaConf.register_new_resolver("sweep_job", sweep_job, replace=True)
