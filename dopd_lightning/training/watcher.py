"""Base class of callbacks that watch a run and never end it."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, ClassVar

import lightning as L
import torch

from dopd_lightning.distributed.processes import number_of_processes, summed
from dopd_lightning.errors import WriteError
from dopd_lightning.io.http import in_one_line

log = logging.getLogger(__name__)

HOOKS = [
    name for name in vars(L.Callback) if name in ("setup", "teardown", "load_state_dict") or name.startswith("on_")
]


class Watcher(L.Callback):
    """Base class of callbacks that do not affect training: an error in a hook only switches the callback off.

    Subclasses define hooks like any callback, and each hook is guarded. If there are several processes, the hooks named
    in ``collective`` are not guarded: a process that skips a collective would leave the others waiting, or make them
    match different collectives. Such a hook guards its local work with :meth:`guarded` and calls :meth:`goes_on` before
    the collective. An error inside the collective ends the run, like an error in a training step.

    Attributes:
        off: True if the callback was switched off in this process.
    """

    collective: ClassVar[frozenset[str]] = frozenset()
    off = False
    _off_everywhere = False

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name in HOOKS:
            hook = getattr(cls, name)
            if hook is not getattr(L.Callback, name) and not hasattr(hook, "is_guarded"):
                setattr(cls, name, _guarded(name, hook))

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Run the block; an error becomes a warning and switches the callback off."""
        try:
            yield
        except Exception as error:
            self.off = True
            warn_of(f"the callback {type(self).__name__}", error)

    def goes_on(self, device: torch.device) -> bool:
        """Return whether the callback is on in all processes; all processes have to call it at the same place."""
        if not self._off_everywhere:
            self._off_everywhere = bool(summed(torch.tensor(int(self.off), device=device)))
            self.off = self._off_everywhere
        return not self.off


def _guarded(name: str, hook: Callable[..., None]) -> Callable[..., None]:
    @wraps(hook)
    def guarded(self: Watcher, *args: Any, **kwargs: Any) -> None:
        if name in self.collective and number_of_processes() > 1:
            hook(self, *args, **kwargs)
        elif not self.off:
            with self.guarded():
                hook(self, *args, **kwargs)

    guarded.is_guarded = True  # type: ignore[attr-defined]
    return guarded


def warn_of(who: str, error: Exception) -> None:
    """Warn that ``who`` failed and is switched off; the traceback is logged at level debug."""
    reason = error if isinstance(error, WriteError) else f"{type(error).__name__}: {in_one_line(str(error))}"
    warnings.warn(f"{who} failed and is switched off for the rest of the run, which goes on: {reason}", stacklevel=2)
    wanted = os.environ.get("HYDRA_FULL_ERROR") == "1"
    log.log(logging.WARNING if wanted else logging.DEBUG, "%s failed", who, exc_info=error)
