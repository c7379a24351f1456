"""Modules under the names that they had before: imports and ``_target_``s of earlier versions go on working."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

MOVED = {
    "checkpoints": "training.checkpoints",
    "head": "scores.head",
    "metrics": "record.metrics",
    "module": "training.module",
    "optimizer": "training.optimizer",
    "privileged": "training.privileged",
    "processes": "distributed.processes",
    "sharding": "distributed.sharding",
}
"""Where a module is now, by its name before: those that a page, a configuration or an example has shown."""


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
