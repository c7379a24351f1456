"""What ``${default:…}`` and ``${asset:…}`` mean in the configuration."""

from __future__ import annotations

import inspect
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


def register_resolvers() -> None:
    """Make both known to OmegaConf; any number of times."""
    OmegaConf.register_new_resolver("default", default_of, replace=True)
    OmegaConf.register_new_resolver("asset", asset, replace=True)
