"""Time that watching callbacks add to a step, at their defaults, on the quickstart's task and models.

    python -m benchmarks.watching

One run; the time inside the callbacks' hooks, and in the details that a map asks a step for, as shares of all of it.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any
from unittest.mock import patch

import lightning as L
import torch
import wandb
from lightning.pytorch.loggers import CSVLogger, WandbLogger
from torch.utils.data import DataLoader

from benchmarks.tables import arguments, machine, milliseconds, publish, table
from dopd_lightning import DOPDModule
from dopd_lightning.callbacks import CollapseGuard, DivergenceMap, Speed
from dopd_lightning.data import ReasoningGymDataset, collate
from dopd_lightning.rollout import StudentRollout
from dopd_lightning.training import objective

ASSETS = files("dopd_lightning") / "assets"
PARAMS = {"min_terms": 3, "max_terms": 5, "min_digits": 1, "max_digits": 1}
HOOKS = ("on_train_start", "on_train_batch_start", "on_train_batch_end", "on_validation_end", "on_train_end")
DETAILS = "DivergenceMap, in the step"


@contextmanager
def watching(seconds: dict[str, float], clock: Callable[[], float]) -> Iterator[None]:
    """Add up the seconds of the callbacks' hooks, by callback."""

    def timed(part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            began = clock()
            try:
                return function(*args, **kwargs)
            finally:
                seconds[part] += clock() - began

        return call

    with ExitStack() as stack:
        for callback in (DivergenceMap, CollapseGuard, Speed):
            for hook in HOOKS:
                if hook in vars(callback):
                    method = timed(callback.__name__, getattr(callback, hook))
                    stack.enter_context(patch.object(callback, hook, method))
        details = timed(DETAILS, objective.token_details)
        stack.enter_context(patch.object(objective, "token_details", details))
        yield


def run(steps: int, folder: Path, clock: Callable[[], float]) -> tuple[dict[str, float], int]:
    """Seconds by callback and in all, and how many maps there were."""
    seconds: dict[str, float] = defaultdict(float)
    maps = DivergenceMap(folder)
    module = DOPDModule(
        student=str(ASSETS / "quickstart_student"),
        teacher=str(ASSETS / "quickstart_teacher"),
        rollout=StudentRollout(samples_per_prompt=4, max_new_tokens=64),
        verifier="reasoning_gym",
    )
    loggers = [CSVLogger(folder), WandbLogger(save_dir=folder, offline=True, settings=wandb.Settings(silent=True))]
    with watching(seconds, clock):
        trainer = L.Trainer(
            accelerator="cpu",
            logger=loggers,
            callbacks=[maps, CollapseGuard(), Speed()],
            max_steps=steps,
            max_epochs=-1,
            gradient_clip_val=1.0,
            log_every_n_steps=min(10, steps),
            default_root_dir=folder,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        problems = ReasoningGymDataset("chain_sum", size=16 * steps, params=PARAMS, hint="steps_executed")
        began = clock()
        trainer.fit(module, DataLoader(problems, batch_size=16, collate_fn=collate))
        seconds["all"] = clock() - began
    wandb.finish()
    return seconds, len(maps.snapshots)


def main(argv: Sequence[str] | None = None) -> None:
    options = arguments(__doc__, argv, rounds=1)
    steps = 2 if options.quick else 200
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        seconds, maps = run(steps, Path(folder), options.clock)
    total = seconds.pop("all")
    rows = [[part, milliseconds(took / steps), f"{took / total:.2%}"] for part, took in sorted(seconds.items())]
    rows.append(["all of these", milliseconds(sum(seconds.values()) / steps), f"{sum(seconds.values()) / total:.2%}"])
    rows.append(["a step", milliseconds(total / steps), "100%"])
    publish(
        [
            f"## What watching adds\n\n{steps} steps of 64 rollouts, {maps} maps, loggers CSV and Weights & Biases "
            f"(offline). {machine(options.clock)}.",
            table(["", "ms a step", "share"], rows),
        ],
        options.out,
    )


if __name__ == "__main__":
    main()
