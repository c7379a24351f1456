"""Contenders: trainers that take a training step each, in turns."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias
from unittest.mock import patch

import lightning as L
from torch import nn

from benchmarks.models import CLIP, Size, loader_of, module_of, trainer_of
from benchmarks.parts import OTHER, Parts, Seconds, watching
from dopd_lightning import DOPDModule
from dopd_lightning.fusion import FusionRule

Scheduler: TypeAlias = Callable[..., Any]

LOSS = "heads and loss"
ROWS = (
    *("rollout", "student forward", "teacher forward", "reference forward", LOSS, "logging"),
    *("backward", "clipping", "optimizer", OTHER),
)


@dataclass(frozen=True)
class Contender:
    """A name, and a call that takes some steps in a loop of its own and leaves their times in the parts."""

    name: str
    run: Callable[[int, Parts], None]


def measure(
    contenders: Sequence[Contender], clock: Callable[[], float], rounds: int, warm_up: int, steps: int
) -> dict[str, list[Seconds]]:
    """Let them take turns, in blocks of ``warm_up + steps`` steps.

    Returns:
        Seconds by part, of each step after the warm-ups, by contender.
    """
    measured: dict[str, list[Seconds]] = {contender.name: [] for contender in contenders}
    for number in range(rounds):
        for contender in contenders[:: -1 if number % 2 else 1]:  # nobody always follows the same one
            gc.collect()
            parts = Parts(clock)
            contender.run(warm_up + steps, parts)
            measured[contender.name] += parts.steps[warm_up:]
    return measured


class EndOfStep(L.Callback):
    """Tells the parts where one step ends."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts

    def on_train_batch_end(self, *_: Any) -> None:
        self.parts.end_step()


@contextmanager
def watching_module(parts: Parts, module: DOPDModule) -> Iterator[None]:
    """Time the module's parts inside the block."""
    assert module.teacher is not None
    with watching(parts, module.student, module.teacher) as stack:
        for part, name in ((LOSS, "training_step"), ("logging", "log"), ("logging", "log_dict")):
            stack.enter_context(patch.object(module, name, parts.timed(part, getattr(module, name))))
        yield


def fit(
    name: str, size: Size, fusion: FusionRule, *, privileged: bool, scheduler: Scheduler | None = None
) -> Contender:
    """`DOPDModule` under ``Trainer.fit``."""
    module = module_of(size, fusion, scheduler)

    def run(steps: int, parts: Parts) -> None:
        loader = loader_of(size, steps, privileged=privileged)
        with watching_module(parts, module):
            trainer_of(steps, EndOfStep(parts)).fit(module, loader)

    return Contender(name, run)


def bare(name: str, size: Size, fusion: FusionRule, *, privileged: bool, scheduler: Scheduler) -> Contender:
    """`DOPDModule` in the loop that one would write without Lightning."""
    module = module_of(size, fusion)

    def run(steps: int, parts: Parts) -> None:
        module.train()
        optimizer = module.configure_optimizers()
        rate = scheduler(optimizer=optimizer, num_training_steps=steps)
        with watching_module(parts, module):
            for number, batch in enumerate(loader_of(size, steps, privileged=privileged)):
                optimizer.zero_grad()
                module.training_step(batch, number)["loss"].backward()
                nn.utils.clip_grad_norm_(module.student.parameters(), CLIP)
                optimizer.step()
                rate.step()
                parts.end_step()

    return Contender(name, run)
