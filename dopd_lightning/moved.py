"""Names of earlier versions and their replacements: modules, classes, ``_target_``s and weights in checkpoints."""

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
"""Current module by its earlier name, for modules that the docs, a configuration or an example named."""

NAMES = {"policies.Reference": "sources.reference_of_kind"}
"""Current place of a class or function by its earlier place."""

TARGETS = {"dopd_lightning.policies.base_of": "dopd_lightning.sources.Base"}
"""Current ``_target_`` by its earlier one, where another object replaces the earlier one."""

WEIGHTS = {"reference.": "sources.reference."}
"""Current prefix of names in a module's state dict by the earlier prefix."""


def current_names(state_dict: Mapping[str, T]) -> dict[str, T]:
    """Rename the entries of an earlier version's state dict; current names stay.

    Example:
        >>> current_names({"student.weight": 1, "reference.weight": 2})
        {'student.weight': 1, 'sources.reference.weight': 2}
    """
    return {_current(name): value for name, value in state_dict.items()}


def _current(name: str) -> str:
    for before, now in WEIGHTS.items():
        if name.startswith(before):
            return now + name.removeprefix(before)
    return name


def moved_name(package: str, name: str) -> Any:
    """Return the object that was ``name`` in ``package`` in an earlier version, for the package's ``__getattr__``.

    Raises:
        AttributeError: if no earlier version had such a name.
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
    """Make imports find modules under their earlier names as well."""
    sys.meta_path.append(_Moved())
