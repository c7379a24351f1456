"""What ``${default:…}``, ``${asset:…}`` and ``${began:}`` mean in the configuration."""

from __future__ import annotations

import inspect
import os
from datetime import datetime
from importlib import import_module
from importlib.resources import files
from typing import Any

from omegaconf import OmegaConf


def default_of(path: str) -> Any:
    """The default of a parameter, so that Python signatures stay the one place where defaults are.

    ``${default:rollout.StudentRollout.temperature}`` is the default of ``temperature`` in
    ``dopd_lightning.rollout.StudentRollout``.
    """
    *module, owner, parameter = path.split(".")
    callable_ = getattr(import_module(".".join(["dopd_lightning", *module])), owner)
    default = inspect.signature(callable_).parameters[parameter].default
    if default is inspect.Parameter.empty:
        raise ValueError(f"{path}: this parameter has no default")
    return OmegaConf.create(list(default)) if isinstance(default, tuple) else default


def asset(name: str) -> str:
    """Folder of a model that comes with the package, such as ``${asset:quickstart_teacher}``."""
    return str(files("dopd_lightning") / "assets" / name)


def began() -> str:
    """When the run began, which names its folder: the same in all processes that Lightning starts for it.

    Those run the whole command again, and would each find a time, and a folder, of their own.
    """
    now = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    if int(os.environ.get("LOCAL_RANK", "0")) == 0:
        os.environ["DOPD_BEGAN"] = now
    return os.environ.get("DOPD_BEGAN", now)  # started by others, such as torchrun, it finds none


def register_resolvers() -> None:
    """Make them known to OmegaConf; any number of times."""
    OmegaConf.register_new_resolver("default", default_of, replace=True)
    OmegaConf.register_new_resolver("asset", asset, replace=True)
    OmegaConf.register_new_resolver("began", began, replace=True, use_cache=True)
