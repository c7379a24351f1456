"""Callbacks that watch: two processes see what one does, and train as if nobody watched."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest
import torch

from dopd_lightning.callbacks import CollapseGuard, DivergenceMap, Speed
from dopd_lightning.maps import Snapshot
from dopd_lightning.rollout import StudentRollout
from tests.distributed.together import together
from tests.distributed.training import Case, examples, train

BATCHES = [examples(16)[start : start + 4] for start in range(0, 16, 4)]
CASE = Case(batches=BATCHES)


@pytest.fixture(scope="module")
def one_process(tmp_path_factory):
    """Snapshots of one process's run, and what it did."""
    folder = tmp_path_factory.mktemp("one")
    (result,) = together(1, train, CASE, DivergenceMap(folder, every_n_steps=2, prompts=2), Speed())
    return snapshots(folder), result


class FailsInTheSecond(Speed):
    def _rates(self, *args):
        if os.environ["TEST_RANK"] == "1":
            raise RuntimeError("no clock")
        return super()._rates(*args)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_one_that_fails_in_one_process_is_off_in_all_and_training_goes_on(one_process, strategy, tmp_path):
    """The first cannot write maps, which only it notices; the second cannot tell its speed."""
    (tmp_path / "file").touch()
    watching = DivergenceMap(tmp_path / "file" / "maps", every_n_steps=1, prompts=2), FailsInTheSecond()
    found = together(2, train, replace(CASE, strategy=strategy), *watching)
    for each in found:
        assert all(np.isnan(step["train/tokens_per_second"]) for step in each["metrics"][1:])
        for name, weight in one_process[1]["student"].items():
            torch.testing.assert_close(each["student"][name], weight, rtol=0, atol=2e-5, msg=name)


def snapshots(folder):
    return [Snapshot.load(folder / "divergence_map" / f"step={step}.npz") for step in (0, 2, 4)]


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_maps_of_two_processes_are_those_of_one(one_process, tmp_path, strategy):
    expected, trained = one_process
    watching = DivergenceMap(tmp_path, every_n_steps=2, prompts=2), CollapseGuard(window=2), Speed()
    found = together(2, train, replace(CASE, strategy=strategy), *watching)
    for ours, theirs in zip(snapshots(tmp_path), expected, strict=True):
        # The fixed prompts are the first of the first process's share: the first of all, and the third.
        mine = [response for response in ours.responses if response.fixed]
        assert [response.prompt for response in mine] == [BATCHES[0][0]["prompt"], BATCHES[0][2]["prompt"]]
        same, other = mine[0], theirs.responses[0]
        assert same.token_ids.tolist() == other.token_ids.tolist()
        for name in ("student_probability", "teacher_divergence", "student_entropy"):
            np.testing.assert_allclose(same.quantities[name], other.quantities[name], atol=1e-4, err_msg=name)
        fresh = [response for response in ours.responses if not response.fixed]
        assert len(fresh) == (0 if ours.step == 4 else 2), "of the two prompts that the first process has"
    for each in found:
        for name, weight in trained["student"].items():
            torch.testing.assert_close(each["student"][name], weight, rtol=0, atol=2e-5, msg=name)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_watching_changes_nothing(strategy, tmp_path):
    case = replace(CASE, strategy=strategy, rollout=StudentRollout(max_new_tokens=4, samples_per_prompt=2))
    plain = together(2, train, case)
    watched = together(2, train, case, DivergenceMap(tmp_path, every_n_steps=1), CollapseGuard(window=2), Speed())
    for mine, other in zip(watched, plain, strict=True):
        assert all(a.equal(b) for a, b in zip(mine["responses"], other["responses"], strict=True))
        for name, weight in other["student"].items():
            assert torch.equal(mine["student"][name], weight), name


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_rates_add_up_over_processes_and_all_know_them(strategy):
    found = together(2, train, replace(CASE, strategy=strategy), Speed())
    for first, second in zip(*(each["metrics"][1:] for each in found), strict=True):  # each is of the step before
        for name in ("train/tokens_per_second", "train/peak_memory"):
            assert first[name] == second[name] > 0
