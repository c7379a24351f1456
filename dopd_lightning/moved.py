"""Names of earlier versions: of modules and classes in imports and ``_target_``s, and of weights in checkpoints."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, TypeVar

T = TypeVar("T")

MOVED = {
    "checkpoints": "training.checkpoint_file",
    "head": "scores.head",
    "metrics": "record.metrics",
    "module": "training.module",
    "optimizer": "training.optimizer",
    "privileged": "training.privileged",
    "processes": "distributed.processes",
    "sharding": "distributed.sharding",
}
"""Present places of modules by their earlier names, as far as a page, a configuration or an example showed them."""

NAMES = {"policies.Reference": "sources.reference_of_kind"}
"""Present places of classes and functions by their earlier ones."""

TARGETS = {"dopd_lightning.policies.base_of": "dopd_lightning.sources.Base"}
"""Replacements of a ``_target_`` whose object is another now."""

WEIGHTS = {"reference.": "sources.reference."}
"""Beginnings of names in a module's state dict, now, by what they were."""


def current_names(state_dict: Mapping[str, T]) -> dict[str, T]:
    """The state dict of an earlier version, or of this one, with the names of this one."""
    return {_current(name): value for name, value in state_dict.items()}


def _current(name: str) -> str:
    for before, now in WEIGHTS.items():
        if name.startswith(before):
            return now + name.removeprefix(before)
    return name


def moved_name(package: str, name: str) -> Any:
    """The object that ``package`` had under ``name`` before, for its ``__getattr__``.

    Raises:
        AttributeError: if it had none.
    """
    place = NAMES.get(f"{package.partition('.')[2]}.{name}")
    if place is None:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    module, _, found = place.rpartition(".")
    return getattr(import_module(f"{__package__}.{module}"), found)


class _Moved(MetaPathFinder, Loader):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, name = fullname.rpartition(".")
        return ModuleSpec(fullname, self) if package == __package__ and name in MOVED else None

    def exec_module(self, module: ModuleType) -> None:
        name = module.__name__.rpartition(".")[2]
        sys.modules[module.__name__] = import_module(f"{__package__}.{MOVED[name]}")


def find_moved() -> None:
    """Have imports find modules under their names before, too."""
    sys.meta_path.append(_Moved())
