"""The keys that ``config.yaml`` has of its own, which belong to no object that would look at them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dopd_lightning.cli.check_types import check_value
from dopd_lightning.errors import ConfigError, check_choice

_EVERY_STAGE: Mapping[str, Any] = {
    "name": str,
    "seed": Any,  # looked at below
    "paths": Mapping[str, str],
    "paths.runs": str,
    "paths.output_dir": str,
}
_EVALUATE = ("teacher", "student_before", "student_after")
_RUN: Mapping[str, Any] = {
    "ckpt_path": str | None,
    "objective": str | None,
    "evaluate": Mapping[str, bool],
    **{f"evaluate.{name}": bool for name in _EVALUATE},
    "data": Mapping[str, Any],
    **{f"data.{name}": Mapping[str, Any] | None for name in ("train", "val", "test", "predict")},
    "student": Mapping[str, Any],
    "teacher": Mapping[str, Any] | None,
    "sources": Mapping[str, Any] | None,
}
_NEVER_EMPTY = ("name", "paths.runs", "paths.output_dir", "ckpt_path")


def check_own_keys(config: DictConfig) -> None:
    """Refuse values that the command line's own code could not use, or would misunderstand.

    Raises:
        ConfigError: for a key that is not there, a value of another type, an empty one, or a name as in
            :func:`check_name`.
    """
    keys = _EVERY_STAGE if config.stage in ("privilege", "compare") else {**_EVERY_STAGE, **_RUN}
    for key, hint in keys.items():
        value = _value(config, key)
        check_value(key, value, hint)
        if value == "" and key in _NEVER_EMPTY:
            raise ConfigError(f"{key}: it is empty, and must be given")
    if keys is not _EVERY_STAGE:
        for name in config.evaluate:
            check_choice("evaluate", name, _EVALUATE)
        _check_nodes(config, ("callbacks", "logger", "sources"))
    if type(config.seed) is not int or not 0 <= config.seed < 2**32:
        raise ConfigError(f"seed: {config.seed!r} must be a whole number from 0 to {2**32 - 1}")
    check_name(config.name)


def check_name(name: str) -> None:
    """Refuse a name that leads away from ``paths.runs``.

    Raises:
        ConfigError: if it does.
    """
    path = PurePath(name)
    if path.is_absolute() or ".." in path.parts:
        raise ConfigError(f"name: {name!r} must stay below paths.runs: neither '..' nor a '/' at the start")


def _value(config: DictConfig, key: str) -> Any:
    """The value at a key that has to be there."""
    parent, _, name = key.rpartition(".")
    node = OmegaConf.select(config, parent) if parent else config
    if name not in node:
        raise ConfigError(f"{key}: is not set, and this run needs it")
    return node[name]


def _check_nodes(config: DictConfig, groups: Sequence[str]) -> None:
    """Each member of a group of named parts is what an object can be made from, or null."""
    for group in groups:
        check_value(group, config.get(group), Mapping[str, Any] | None)
        for name, node in (config.get(group) or {}).items():
            check_value(f"{group}.{name}", node, Mapping[str, Any] | None)
            if node is not None and "_target_" not in node:
                raise ConfigError(f"{group}.{name}: it has no _target_, the class to instantiate")
