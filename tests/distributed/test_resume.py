"""A run that goes on from a checkpoint ends as the one that never stopped: same bits, same metrics."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import permutations
from typing import Any

import pytest
import torch
from transformers import get_scheduler

from dopd_lightning.rollout import DatasetRollout, MixedRollout, StudentRollout, TeacherRollout
from tests.distributed.together import together
from tests.distributed.training import Case, examples, train, train_and_go_on

DATA = {"train": examples(12), "val": examples(3), "seed": 4}
SETTINGS = {"max_epochs": 2, "val_check_interval": 2}
"""Three steps of four prompts an epoch, validation after the second."""
COSINE = partial(get_scheduler, "cosine", num_warmup_steps=0)
"""The default of the command line; it depends on the number of steps."""
ROLLOUTS = {
    "student": StudentRollout(samples_per_prompt=2, max_new_tokens=6),
    "teacher": TeacherRollout(samples_per_prompt=2, max_new_tokens=6),
    "dataset": DatasetRollout(max_new_tokens=6),
    "mixed": MixedRollout(samples_per_prompt=2, max_new_tokens=6),
}
KINDS = [(rollout, "student") for rollout in ROLLOUTS] + [("student", kind) for kind in ("snapshot", "ema", "model")]


def case_of(processes: int, **settings: Any) -> Case:
    data = {**DATA, "batch_size": 4 // processes}
    return Case(**{"data": data, "trainer": SETTINGS, "scheduler": COSINE} | settings)


def assert_same_bits(found: Any, expected: Any) -> None:
    for part in ("student", "reference"):
        assert found[part].keys() == expected[part].keys()
        assert all(found[part][name].equal(expected[part][name]) for name in expected[part])


def _of_steps(metrics: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if name.startswith("train/")}


ONE = [(1, "auto", *kind) for kind in KINDS]
TWO = [(2, strategy, *kind) for strategy in ("ddp", "fsdp") for kind in (("mixed", "student"), ("student", "ema"))]
"""Cases of two processes: one in which they decide together who writes, and one with weights besides the student's."""


@pytest.mark.parametrize(("processes", "strategy", "rollout", "reference"), [*ONE, *TWO])
def test_it_ends_with_the_same_bits_and_metrics(processes, strategy, rollout, reference, tmp_path):
    case = case_of(processes, strategy=strategy, rollout=ROLLOUTS[rollout], reference=reference)
    for whole, *resumed in together(processes, train_and_go_on, case, (1, 2, 3), str(tmp_path)):
        for step, each in zip((1, 2, 3), resumed, strict=True):  # in an epoch, after a validation, between epochs
            assert_same_bits(each, whole)
            found, expected = each["metrics"], whole["metrics"][step:]
            assert len(found) == len(expected) == 6 - step
            for here, there in zip(found, expected, strict=True):
                assert _of_steps(here) == _of_steps(there)
            assert found[-1]["val/accuracy"] == expected[-1]["val/accuracy"]
            assert each["regime_counts"].equal(whole["regime_counts"])


@pytest.mark.parametrize(("processes", "strategy"), [(1, "auto"), (2, "ddp"), (2, "fsdp")])
def test_so_it_does_with_the_defaults_of_the_trainer_and_the_module(processes, strategy, tmp_path):
    """One epoch, validation at its end; only how long responses are is not the default."""
    case = case_of(processes, strategy=strategy, rollout=StudentRollout(max_new_tokens=6), trainer={})
    for whole, *resumed in together(processes, train_and_go_on, case, (1, 3), str(tmp_path)):
        for step, each in zip((1, 3), resumed, strict=True):
            assert_same_bits(each, whole)
            assert len(each["metrics"]) == 3 - step
            assert each["regime_counts"].equal(whole["regime_counts"])


@pytest.mark.parametrize(("before", "after"), [*permutations([(1, "auto"), (2, "ddp"), (2, "fsdp")], 2)], ids=str)
def test_a_run_goes_on_with_another_strategy_and_on_another_number_of_processes(before, after, tmp_path):
    """Same global batches: what differs is the order of sums. Nothing is sampled: that is drawn anew.

    The rate is constant: the first part ends by `max_steps`, which a schedule would be over.
    """
    same = {"rollout": DatasetRollout(max_new_tokens=6), "reference": "ema", "scheduler": None}
    whole = together(1, train, case_of(1, **same))[0]
    (processes, strategy), path = before, str(tmp_path / "half.ckpt")
    first = case_of(processes, strategy=strategy, **same)
    together(processes, train, replace(first, trainer={**SETTINGS, "max_steps": 2}, save_to=path))
    processes, strategy = after
    second = case_of(processes, strategy=strategy, **same)
    for each in together(processes, train, replace(second, ckpt_path=path)):
        assert len(each["metrics"]) == 4
        for part in ("student", "reference"):
            for name, weight in whole[part].items():
                torch.testing.assert_close(each[part][name], weight, rtol=0, atol=1e-4, msg=name)


def test_a_checkpoint_holds_the_random_states_of_all_processes_and_no_frozen_model(tmp_path):
    case = case_of(2, strategy="fsdp", rollout=ROLLOUTS["student"], reference="ema")
    together(2, train, replace(case, save_to=str(tmp_path / "run.ckpt")))
    checkpoint = torch.load(tmp_path / "run.ckpt", weights_only=True)
    one, other = checkpoint["random_states"]
    assert not one["torch"].equal(other["torch"])
    assert {name.split(".")[0] for name in checkpoint["state_dict"]} == {"student", "sources"}
    assert all(type(tensor) is torch.Tensor for tensor in checkpoint["state_dict"].values()), "whole ones"
