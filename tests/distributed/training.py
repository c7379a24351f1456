"""A training run of tiny policies, described by values that can be sent to another process."""

from __future__ import annotations

import copy
import importlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.distributed.fsdp._fully_shard import _fsdp_param_group as groups
from torch.utils.data import DataLoader

from dopd_lightning import DOPDModule
from dopd_lightning.callbacks import ResumableCheckpoint
from dopd_lightning.data import DOPDDataModule
from dopd_lightning.distributed.sharding import FullyShardedStrategy
from dopd_lightning.errors import DataError, WriteError
from dopd_lightning.fusion import DOPD, FusionRule
from dopd_lightning.policies import load_lora_policy, new_policy, new_tokenizer
from dopd_lightning.rollout import DatasetRollout, Rollout, RolloutRequest, Sampling, generate
from dopd_lightning.sources import ByDomain, Ensemble
from dopd_lightning.training.checkpoint_file import WholeCheckpointIO
from tests.conftest import ARCHITECTURE, TEXTS


def examples(number: int) -> list[dict[str, Any]]:
    """Prompts and completions of different lengths."""
    return [
        {
            "prompt": f"Add {n} 2." + " step" * (n % 3),
            "privileged": f"first {n}",
            "answer": n + 2,
            "completion": f"{n + 2} " * (1 + 3 * (n % 4)),
            "domain": ("maths", "code", "poems")[n % 3],
        }
        for n in range(number)
    ]


def own_rule() -> Any:
    """The rule of examples/own_rule, which is found there."""
    folder = str(Path(__file__).parents[2] / "examples" / "own_rule")
    if folder not in sys.path:
        sys.path.append(folder)
    return importlib.import_module("running_gap").RunningGap()


class Spelled(DatasetRollout):
    """Completions as they are, an empty one without a single token."""

    def __call__(self, request: RolloutRequest) -> list[list[int]]:
        return [
            [] if text == "" else tokens
            for text, tokens in zip(request.completions, super().__call__(request), strict=True)
        ]


class Claimed(Spelled):
    """Completions in the place of the student's samples."""

    student_writes = True

    @property
    def sampling(self) -> Sampling:
        return Sampling(max_new_tokens=self.max_new_tokens)


def odd(response: str, example: Any) -> float | None:
    """Reward odd lengths; unknown for one of the answers."""
    return None if example["answer"] == 5 else float(len(response) % 2)


def sgd(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.5)


def adamw(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=3e-3)


@dataclass
class Case:
    """Settings of a training run.

    Attributes:
        batches: of examples, all processes' together; each takes every so-manieth example of them.
        data: read by a data module instead.
        base: folder of what the student learns adapters for, instead of being trained whole.
        shares: of the batches, by process and batch, where the shares are not equal.
    """

    strategy: str = "auto"
    batches: Sequence[Sequence[dict[str, Any]]] = ()
    shares: Sequence[Sequence[Sequence[dict[str, Any]]]] | None = None
    data: dict[str, Any] | None = None
    fusion: FusionRule = field(default_factory=lambda: DOPD(top_k=8))
    rollout: Rollout = field(default_factory=Spelled)
    teacher: str = "policy"
    sources: dict[str, Any] = field(default_factory=dict)
    reference: str = "student"
    reduction: Any = "rollout"
    optimizer: Any = adamw
    scheduler: Any = None
    teacher_dtype: Any = torch.float32
    activation_checkpointing: bool = False
    base: str | None = None
    trainer: dict[str, Any] = field(default_factory=dict)
    ckpt_path: str | None = None
    save_to: str | None = None


class Watch(L.Callback):
    """Notes what each step logged and did."""

    def __init__(self) -> None:
        self.metrics: list[dict[str, float]] = []
        self.regimes: list[Tensor] = []
        self.responses: list[Tensor] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        record = outputs["record"]
        self.metrics.append({name: float(value) for name, value in trainer.callback_metrics.items()})
        self.regimes.append(record.regimes)
        self.responses.append(record.response_ids.masked_fill(~record.mask, -1))


def place() -> tuple[int, int]:
    """This process's rank, and how many there are. (Lightning's own variables are gone after the first Trainer.)"""
    return int(os.environ.get("TEST_RANK", "0")), int(os.environ.get("TEST_PROCESSES", "1"))


def module_of(case: Case) -> DOPDModule:
    L.seed_everything(0, verbose=False)
    tokenizer = new_tokenizer(TEXTS, vocabulary_size=280)
    teacher: Any = new_policy(ARCHITECTURE | {"hidden_size": 48}, tokenizer, seed=1).to(case.teacher_dtype)
    if case.teacher != "policy":
        others = {name: new_policy(ARCHITECTURE, tokenizer, seed=seed) for name, seed in (("code", 2), ("poems", 3))}
        several = {"maths": teacher, **others}
        teacher = ByDomain(several) if case.teacher == "by_domain" else Ensemble(several, geometric=True)
    student = new_policy(ARCHITECTURE, tokenizer, seed=0) if case.base is None else load_lora_policy(case.base, r=4)
    return DOPDModule(
        student,
        teacher,
        new_policy(ARCHITECTURE, tokenizer, seed=2) if case.reference == "model" else case.reference,
        sources=case.sources,
        tokenizer=tokenizer,
        fusion=copy.deepcopy(case.fusion),  # tensors that are sent to processes are in memory that these share
        rollout=case.rollout,
        reduction=case.reduction,
        optimizer=case.optimizer,
        scheduler=case.scheduler,
        activation_checkpointing=case.activation_checkpointing,
        verifier=_even,
    )


def _even(response: str, example: Any) -> float:
    return float(int(example["answer"]) % 2 == 0)


def trainer_of(case: Case, *callbacks: L.Callback) -> L.Trainer:
    checkpoints = any(isinstance(callback, ResumableCheckpoint) for callback in callbacks)
    quiet = {"logger": False, "enable_checkpointing": checkpoints, "enable_progress_bar": False}
    return L.Trainer(
        accelerator="cpu",
        devices=place()[1],
        strategy=FullyShardedStrategy() if case.strategy == "fsdp" else case.strategy,
        enable_model_summary=False,
        use_distributed_sampler=case.data is not None,  # batches are dealt out already
        callbacks=list(callbacks),
        plugins=[WholeCheckpointIO()],
        **quiet | {"max_epochs": 1} | case.trainer,
    )


def failures(*cases: tuple[Case, L.Callback | None]) -> list[str]:
    """The errors, as a user reads them, with which runs end in this process."""
    said = []
    for case, callback in cases:
        try:
            train(case, *([] if callback is None else [callback]))
        except (DataError, WriteError) as error:
            said.append(f"{type(error).__name__}: {error}")
    return said


def whole(state: dict[str, Any]) -> dict[str, Tensor]:
    """Tensors that are whole in each process."""
    return {
        name: (value.full_tensor() if hasattr(value, "full_tensor") else value).clone() for name, value in state.items()
    }


def evaluate(case: Case) -> float:
    """Accuracy on five problems."""
    module, trainer = module_of(case), trainer_of(case)
    return float(
        trainer.test(module, DOPDDataModule(test=examples(5), batch_size=2), verbose=False)[0]["test/accuracy"]
    )


def train(case: Case, *callbacks: L.Callback) -> dict[str, Any]:
    """Fit, and return what happened: metrics and regimes of each step, responses, and the student."""
    rank, processes = place()
    watch = Watch()
    module, trainer = module_of(case), trainer_of(case, watch, *callbacks)
    if case.data is not None:
        loaders: dict[str, Any] = {"datamodule": DOPDDataModule(**case.data)}
    else:
        mine = [batch[rank::processes] for batch in case.batches] if case.shares is None else case.shares[rank]
        loaders = {"train_dataloaders": DataLoader(list(mine), batch_size=None)}
    trainer.fit(module, ckpt_path=case.ckpt_path, weights_only=True, **loaders)
    if case.save_to is not None:
        trainer.save_checkpoint(case.save_to)
    return {
        "metrics": watch.metrics,
        "regimes": watch.regimes,
        "responses": watch.responses,
        "student": whole(module.student.state_dict()),
        "reference": whole(module.reference.state_dict()),
        "regime_counts": module.regime_counts.counts,
        "fusion": whole(module.fusion.state_dict()) if isinstance(module.fusion, torch.nn.Module) else {},
    }


def train_and_go_on(case: Case, steps: Sequence[int], folder: str) -> list[dict[str, Any]]:
    """Train, and train again from the checkpoints that the first run left after ``steps``."""
    whole_run = train(case, ResumableCheckpoint(folder, every_n_steps=1, keep=99))
    resumed = [train(replace(case, ckpt_path=f"{folder}/step={step}.ckpt")) for step in steps]
    return [whole_run, *resumed]


def gathers_in_generation(case: Case, tokens: Sequence[int]) -> list[int]:
    """Count how often FSDP2 gathers weights while the student writes this many tokens, after a fit."""
    module, trainer = module_of(case), trainer_of(case)
    trainer.fit(module, DataLoader(list(case.batches), batch_size=None))
    counted, gather = [0], groups.foreach_all_gather

    def counting(*args: Any) -> Any:
        counted[0] += 1
        return gather(*args)

    groups.foreach_all_gather = counting
    found = []
    for number in tokens:
        counted[0] = 0
        sampling = Sampling(max_new_tokens=number, temperature=0)
        generate(module.student, [[1, 2, 3]], sampling, eos_ids=[279], pad_id=0, vocabulary_size=279)
        found.append(counted[0])
    return found
