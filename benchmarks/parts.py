"""Time by part of a step, measured from outside: no line of a trainer is changed."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeAlias
from unittest.mock import patch

import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from transformers import PreTrainedModel

OTHER = "other"

Seconds: TypeAlias = dict[str, float]
"""Seconds by part."""


class Parts:
    """A clock that always runs, for the innermost part that has begun and not ended.

    So each moment belongs to one part, and the parts of a step add up to its time. What no part claims is ``other``.

    Args:
        clock: in seconds: ``time.perf_counter``, or ``time.process_time`` where other processes take turns.

    Attributes:
        steps: seconds by part, of each step that has ended.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.steps: list[Seconds] = []
        self._clock = clock
        self._open: list[str] = []
        self._seconds: Seconds = defaultdict(float)
        self._since = clock()

    def begin(self, part: str) -> None:
        self._charge()
        self._open.append(part)

    def end(self) -> None:
        self._charge()
        self._open.pop()

    def end_step(self) -> None:
        """Count what follows to the next step."""
        self._charge()
        self.steps.append(dict(self._seconds))
        self._seconds.clear()

    def inside(self, part: str) -> bool:
        return part in self._open

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, as a part."""

        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            self.begin(part)
            try:
                return function(*args, **kwargs)
            finally:
                self.end()

        return wrapped

    def _charge(self) -> None:
        now = self._clock()
        self._seconds[self._open[-1] if self._open else OTHER] += now - self._since
        self._since = now


@contextmanager
def watching(parts: Parts, student: PreTrainedModel, teacher: PreTrainedModel) -> Iterator[ExitStack]:
    """Time the parts that every trainer has: rollout, forward passes, backward pass, clipping, optimizer.

    A forward pass is the model's body alone, since trainers differ in who multiplies by the head. What the student
    scores without a gradient, it scores as a reference. More can be put on the stack that is yielded.
    """

    def body(policy: PreTrainedModel, role: Callable[[], str]) -> None:
        def before(module: nn.Module, args: Any) -> None:
            if not parts.inside("rollout"):
                parts.begin(role())

        def after(module: nn.Module, args: Any, output: Any) -> None:
            if not parts.inside("rollout"):
                parts.end()

        stack.callback(policy.base_model.register_forward_pre_hook(before).remove)
        stack.callback(policy.base_model.register_forward_hook(after).remove)

    with ExitStack() as stack:
        body(student, lambda: "student forward" if torch.is_grad_enabled() else "reference forward")
        body(teacher, lambda: "teacher forward")
        for part, owner, name in (
            ("rollout", student, "generate"),
            ("backward", torch.Tensor, "backward"),
            ("clipping", nn.utils, "clip_grad_norm_"),
        ):
            stack.enter_context(patch.object(owner, name, parts.timed(part, getattr(owner, name))))
        begin = register_optimizer_step_pre_hook(lambda *_: parts.begin("optimizer"))
        stack.callback(begin.remove)
        stack.callback(register_optimizer_step_post_hook(lambda *_: parts.end()).remove)
        yield stack
