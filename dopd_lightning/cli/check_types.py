"""Check values of the configuration against the annotations of the signatures that take them."""

from __future__ import annotations

import collections.abc
import inspect
import os
from collections.abc import Callable, Container, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from omegaconf import DictConfig, ListConfig, OmegaConf

from dopd_lightning.errors import ConfigError, check_choice

_NAMES: dict[Any, str] = {
    NoneType: "null",
    Path: "str",
    os.PathLike: "str",
    dict: "mapping",
    Mapping: "mapping",
    collections.abc.Sequence: "list",
    collections.abc.Collection: "list",
    collections.abc.Iterable: "list",
    collections.abc.Callable: "callable",
}


def check_value(key: str, value: Any, hint: Any) -> None:
    """Refuse a value that is of none of the types in ``hint``.

    Args:
        key: of the configuration, for the error.
        value: as the configuration has it. A node with a ``_target_`` becomes an object, and passes.
        hint: an annotation; one that says nothing of plain values lets all pass.

    Raises:
        ConfigError: naming the value, its type and the types that are right.
    """
    choices = [kind for kind in _kinds(hint) if kind is not NoneType]
    if choices and all(get_origin(kind) is Literal for kind in choices) and isinstance(value, str):
        check_choice(key, value, [str(option) for kind in choices for option in get_args(kind)])
    if any(_fits(value, kind) for kind in _kinds(hint)):
        return
    right = " or ".join(sorted({name for kind in _kinds(hint) for name in _names(kind)}))
    if value is None:
        raise ConfigError(f"{key}: it is null, and must be {right}")
    plain = OmegaConf.to_container(value) if isinstance(value, DictConfig | ListConfig) else value
    raise ConfigError(f"{key}: {plain!r} is {type(plain).__name__}, and must be {right}")


def check_arguments(key: str, node: DictConfig, callable_: Callable[..., Any], given: Container[str] = ()) -> None:
    """Hold the values of a node to the annotations of what it is made with; an argument without a default is not empty.

    Args:
        key: of the node.
        node: names of arguments, and values.
        callable_: a class or function.
        given: names of arguments whose values come from elsewhere.

    Raises:
        ConfigError: naming the key of the argument.
    """
    for name, value in ((str(name), value) for name, value in node.items()):
        found = _parameter(callable_, name)
        if found is None or name in given:
            continue
        parameter, function = found
        check_value(f"{key}.{name}", value, _evaluated(parameter.annotation, function))
        if value == "" and parameter.default is parameter.empty:
            raise ConfigError(f"{key}.{name}: it is empty, and must be given")


def _parameter(callable_: Callable[..., Any], name: str) -> tuple[inspect.Parameter, Any] | None:
    """The parameter of that name, and the function that has it, which may be a base class's."""
    classes: Any = callable_.__mro__ if inspect.isclass(callable_) else ()
    for function in [each.__init__ for each in classes] or [callable_]:
        try:
            parameters = inspect.signature(function).parameters
        except (TypeError, ValueError):  # of what is written in C there may be none
            return None
        if name in parameters:
            return parameters[name], function
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
            return None
    return None


def _evaluated(annotation: Any, function: Any) -> Any:
    """An annotation that was kept as text, as the object it stands for; ``Any`` where it cannot be found."""
    if annotation is inspect.Parameter.empty:
        return Any
    if not isinstance(annotation, str):
        return annotation
    try:
        return eval(annotation, getattr(inspect.unwrap(function), "__globals__", {}))  # our dependencies' own source
    except (NameError, TypeError, AttributeError):  # imported for type checkers alone
        return Any


def _kinds(hint: Any) -> list[Any]:
    """The members of a union, flat."""
    if get_origin(hint) in (Union, UnionType):
        return [kind for part in get_args(hint) for kind in _kinds(part)]
    return [NoneType if hint is None else hint]


def _fits(value: Any, kind: Any) -> bool:
    if get_origin(kind) is Literal:
        return any(value == option and type(value) is type(option) for option in get_args(kind))
    kind = get_origin(kind) or kind
    if not isinstance(kind, type) or kind in (object, Any) or (isinstance(value, DictConfig) and "_target_" in value):
        return True
    if isinstance(value, DictConfig):
        return issubclass(dict, kind)
    if isinstance(value, ListConfig):
        return kind is not collections.abc.Callable and (issubclass(list, kind) or kind is tuple)
    if isinstance(value, str):
        return issubclass(kind, str | os.PathLike)
    return type(value) is kind or (type(value) is int and kind is float)


def _names(kind: Any) -> list[str]:
    """The name of a type in an error."""
    if get_origin(kind) is Literal:
        return [repr(option) for option in get_args(kind)]
    kind = get_origin(kind) or kind
    return [_NAMES.get(kind, getattr(kind, "__name__", str(kind)))]
