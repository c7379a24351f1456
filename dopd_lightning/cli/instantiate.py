"""Make the object of a config node, with errors that name the config key."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from hydra._internal.utils import _locate
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import InterpolationToMissingValueError, OmegaConfBaseException

from dopd_lightning.cli.check_types import check_arguments
from dopd_lightning.errors import ConfigError, DataError


def check_complete(config: DictConfig, *keys: str) -> None:
    """Refuse a configuration with values missing, or that refers to what is not there; ``keys``: of these nodes alone.

    Raises:
        ConfigError: naming the key.
    """
    with references_named():
        missing = OmegaConf.missing_keys(config)
        missing = {key for key in missing if not keys or key.startswith(tuple(f"{node}." for node in keys))}
        if missing:
            key = min(missing)
            raise ConfigError(f"{key}: has no value, and must be given ({key}=…)")
        for key in keys or map(str, config):
            node = OmegaConf.select(config, key)
            _check_finite(key, OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node)


@contextmanager
def references_named() -> Iterator[None]:
    """Turn OmegaConf's complaints, of keys that are not there and references that lead nowhere, into sentences."""
    try:
        yield
    except InterpolationToMissingValueError as error:
        key = str(error).splitlines()[0].rpartition(": ")[2]
        raise ConfigError(f"{key}: has no value, and must be given ({key}=…)") from error
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.full_key}: {str(error).splitlines()[0]}") from error


def _check_finite(key: str, value: Any) -> None:
    """No setting has a use for infinity or NaN."""
    if isinstance(value, Mapping):
        for name, part in value.items():
            _check_finite(f"{key}.{name}", part)
    elif isinstance(value, list):
        for part in value:
            _check_finite(key, part)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{key}: {value!r} must be a finite number")


def make(config: DictConfig, key: str, **arguments: Any) -> Any:
    """Instantiate the node at ``key``, such as ``fusion`` or ``data.train``.

    Raises:
        ConfigError, DataError: for a value that its signature does not take, or the object's own complaint, with the
            config key.
    """
    node = OmegaConf.select(config, key)
    if node is None:
        raise ConfigError(f"{key}: is not set, and this run needs it")
    if not isinstance(node, DictConfig) or "_target_" not in node:
        raise ConfigError(f"{key}: {node!r} has no _target_, the class to instantiate")
    _check_signatures(key, node, given=arguments)
    try:
        made = instantiate(node, **arguments)
    except InstantiationException as error:
        place = re.search(r"^full_key: (\S+)$", str(error), re.MULTILINE)  # of the part inside that failed
        inner = place[1] if place and place[1].startswith(f"{key}.") else key
        cause = error.__cause__
        if isinstance(cause, ConfigError | DataError):
            with complaints_name(config, inner):
                raise cause from None
        raise ConfigError(f"{inner}: {' '.join(str(cause or error).split())}") from error
    if isinstance(made, partial):  # which would complain when it is called
        try:
            inspect.signature(made.func).bind_partial(*made.args, **made.keywords)
        except TypeError as error:
            raise ConfigError(f"{key}: {error}") from error
    return made


def check_signatures(config: DictConfig, key: str) -> None:
    """Hold the values of the node at ``key`` to the signature of what it is to be made of; nothing is made.

    Raises:
        ConfigError: naming the value's key.
    """
    _check_signatures(key, OmegaConf.select(config, key))


def _check_signatures(key: str, node: Any, given: Container[str] = ()) -> None:
    """Hold the values of a node, and of each node inside it, to the signature of what it is to be made of.

    Arguments that are ``given`` take the place of what the node has.
    """
    if isinstance(node, ListConfig):
        for number, part in enumerate(node):
            _check_signatures(f"{key}[{number}]", part)
    if not isinstance(node, DictConfig):
        return
    if "_target_" in node:
        target = node["_target_"]
        try:
            callable_ = _locate(target)
        except Exception as error:  # of any kind, while something is imported
            reason = " ".join(str(error).split())
            raise ConfigError(f"{key}._target_: {target!r} cannot be found ({reason})") from error
        check_arguments(key, node, callable_, given)
    for name, part in ((str(name), part) for name, part in node.items()):
        if name not in given:
            _check_signatures(f"{key}.{name}", part)


@contextmanager
def complaints_name(config: DictConfig, key: str) -> Iterator[None]:
    """Put ``key`` before complaints from inside, which know the names of arguments and nothing of configuration."""
    try:
        yield
    except (ConfigError, DataError) as error:
        text = str(error)
        setting = text.partition(":")[0]
        first = setting.partition(".")[0]
        if first in (OmegaConf.select(config, key) or ()):
            text = f"{key}.{text}"
        elif first not in config:
            text = f"{key}: {text}"
        raise type(error)(text) from error
