"""From a node of the configuration to its object, with complaints that name the config key."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dopd_lightning.errors import ConfigError, DataError

_PLAIN: dict[Any, str] = {int: "int", float: "float", str: "str", bool: "bool", NoneType: "null"}


def check_complete(config: DictConfig, *keys: str) -> None:
    """Refuse a configuration with values missing, or that refers to what is not there; ``keys``: of these nodes alone.

    Raises:
        ConfigError: naming the key.
    """
    try:
        missing = OmegaConf.missing_keys(config)
        missing = {key for key in missing if not keys or key.startswith(tuple(f"{node}." for node in keys))}
        for node in keys or (None,):
            OmegaConf.to_container(config if node is None else OmegaConf.select(config, node), resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.full_key}: {str(error).splitlines()[0]}") from error
    if missing:
        key = min(missing)
        raise ConfigError(f"{key}: has no value, and must be given ({key}=…)")


def make(config: DictConfig, key: str, **arguments: Any) -> Any:
    """Instantiate the node at ``key``, such as ``fusion`` or ``data.train``.

    Raises:
        ConfigError, DataError: the object's own complaint, with the config key.
    """
    node = OmegaConf.select(config, key)
    if node is None:
        raise ConfigError(f"{key}: there is none, and this run needs one")
    with complaints_name(config, key):
        _check_types(node)
        try:
            return instantiate(node, **arguments)
        except InstantiationException as error:
            if isinstance(error.__cause__, ConfigError | DataError):
                raise error.__cause__ from None
            raise ConfigError(f"{key}: {error.__cause__ or error}") from error


@contextmanager
def complaints_name(config: DictConfig, key: str) -> Iterator[None]:
    """Put ``key`` before complaints from inside, which know the names of arguments and nothing of configuration."""
    try:
        yield
    except (ConfigError, DataError) as error:
        text = str(error)
        setting = text.partition(":")[0]
        if setting in (OmegaConf.select(config, key) or ()):
            text = f"{key}.{text}"
        elif setting.partition(".")[0] not in config:
            text = f"{key}: {text}"
        raise type(error)(text) from error


def _check_types(node: DictConfig) -> None:
    """Hold values to the signature's annotations: what is mistyped on the command line is a string."""
    try:
        callable_ = get_object(str(node.get("_target_")))
        hints = get_type_hints(callable_.__init__ if inspect.isclass(callable_) else callable_)
    except (ImportError, NameError, TypeError, ValueError):  # instantiate says it, or it is not for us to know
        return
    for name, value in node.items():
        hint = hints.get(str(name))
        kinds = set(get_args(hint)) if get_origin(hint) in (Union, UnionType) else {hint}
        if not kinds <= _PLAIN.keys() or type(value) in kinds or (type(value) is int and float in kinds):
            continue
        right = " or ".join(sorted(_PLAIN[kind] for kind in kinds))
        raise ConfigError(f"{name!s}: {value!r} is {type(value).__name__}, and must be {right}")
