"""From a node of the configuration to its object, with complaints that name the config key."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from types import NoneType
from typing import Any, get_args, get_type_hints

from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dopd_lightning.errors import ConfigError, DataError

_PLAIN = {int, float, str, bool, NoneType}


def check_complete(config: DictConfig) -> None:
    """Refuse a configuration with values missing, or that refers to what is not there.

    Raises:
        ConfigError: naming the key.
    """
    for key in sorted(OmegaConf.missing_keys(config)):
        raise ConfigError(f"{key}: has no value, and must be given ({key}=…)")
    try:
        OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.full_key}: {str(error.msg).splitlines()[0]}") from error


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
    """Hold values to the annotations of our signatures: on the command line, a typing error is a string."""
    target = str(node.get("_target_"))
    if not target.startswith("dopd_lightning."):
        return
    callable_ = get_object(target)
    hints = get_type_hints(callable_.__init__ if inspect.isclass(callable_) else callable_)
    for name, value in node.items():
        kinds = set(get_args(hints.get(name)) or [hints.get(name)])
        if not kinds <= _PLAIN or type(value) in kinds or (type(value) is int and float in kinds):
            continue
        right = " or ".join(sorted("null" if kind is NoneType else kind.__name__ for kind in kinds))
        raise ConfigError(f"{name}: {value!r} is {type(value).__name__}, and must be {right}")
