"""Callbacks that watch a run and never end it."""

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
    """A callback without which a run would be the same: an error in a hook switches it off, with one warning.

    Subclasses write their hooks as those of any callback; each is guarded. The exceptions are the hooks named in
    ``collective``, when there are several processes: one that left out a collective would leave the others waiting, or
    have them take its next one for this. Such a hook guards its local work by :meth:`guarded` and asks :meth:`goes_on`
    before the collective; an error inside the collective ends the run, as one of a training step does.

    Attributes:
        off: whether it was switched off in this process.
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
        """Do the work inside; an error there is a warning, and the last that this callback does."""
        try:
            yield
        except Exception as error:
            self.off = True
            warn_of(f"the callback {type(self).__name__}", error)

    def goes_on(self, device: torch.device) -> bool:
        """Return whether it is on in all processes; all have to ask, at the same place."""
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
    """Say that somebody who watches has failed and is switched off; the traceback is in the log, at level debug."""
    reason = error if isinstance(error, WriteError) else f"{type(error).__name__}: {in_one_line(str(error))}"
    warnings.warn(f"{who} failed and is switched off for the rest of the run, which goes on: {reason}", stacklevel=2)
    wanted = os.environ.get("HYDRA_FULL_ERROR") == "1"
    log.log(logging.WARNING if wanted else logging.DEBUG, "%s failed", who, exc_info=error)
