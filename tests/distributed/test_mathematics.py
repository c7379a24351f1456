"""One process, two with DDP, and two with FSDP2 do the same to the student with the same global batches."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from dopd_lightning.fusion import OPDVR, R2OPD, RewardMix, Teacher
from dopd_lightning.rollout import MixedRollout, StudentRollout, TeacherRollout
from dopd_lightning.sources import Outcome
from tests.distributed.together import together
from tests.distributed.training import Case, Claimed, evaluate, examples, gathers_in_generation, odd, sgd, train

BATCHES = [examples(16)[start : start + 4] for start in range(0, 16, 4)]
STRATEGIES = ["ddp", "fsdp"]
TOLERANCE = 2e-5
"""Tolerance of float32 weights and losses after four steps, since sums are taken in another order."""


def alone(case: Case) -> dict[str, Any]:
    return together(1, train, case)[0]


def in_two(case: Case, strategy: str) -> list[dict[str, Any]]:
    return together(2, train, replace(case, strategy=strategy))


def assert_same_student(found: dict[str, Any], expected: dict[str, Any], part: str = "student") -> None:
    for name, weight in expected[part].items():
        torch.testing.assert_close(found[part][name], weight, rtol=0, atol=TOLERANCE, msg=name)


def assert_same_metrics(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert len(found["metrics"]) == len(expected["metrics"])
    for step, (here, there) in enumerate(zip(found["metrics"], expected["metrics"], strict=True)):
        assert here == pytest.approx(there, abs=1e-4), step


@pytest.mark.parametrize("reference", ["student", "ema", "snapshot"])
def test_loss_routing_metrics_and_student_are_those_of_one_process(reference):
    case = Case(batches=BATCHES, reference=reference, trainer={"gradient_clip_val": 0.1})
    expected = alone(case)
    for strategy in STRATEGIES:
        found = in_two(case, strategy)
        for each in found:
            assert_same_metrics(each, expected)
            assert_same_student(each, expected)
            assert_same_student(each, expected, "reference")
        for step, regimes in enumerate(expected["regimes"]):
            for rank, each in enumerate(found):
                own = each["regimes"][step]
                assert own.equal(regimes[rank::2, : own.shape[1]]), (strategy, step, rank)


@pytest.mark.parametrize("teacher", ["ensemble", "by_domain"])
def test_three_teachers_teach_as_in_one_process(teacher):
    """A process without a row of some domain, or of any, still calls that domain's teacher."""
    rows = examples(12)
    first = [[rows[0], rows[3], rows[6]], [rows[1], rows[4]], [rows[2]]]
    second = [[rows[1]], [], [rows[0], rows[7]]]
    case = Case(batches=[[*a, *b] for a, b in zip(first, second, strict=True)], teacher=teacher)
    expected = alone(case)
    for strategy in STRATEGIES:
        for each in in_two(replace(case, shares=[first, second]), strategy):
            assert_same_metrics(each, expected)
            assert_same_student(each, expected)


@pytest.mark.parametrize(
    "fusion", [RewardMix(baseline="batch", scale=True), OPDVR(support="full"), R2OPD(support="full")]
)
def test_rewards_teach_as_in_one_process(fusion):
    """One of the processes has no example of the last batch."""
    rows = examples(8)
    shares = [[[rows[0], rows[3]], [rows[1], rows[4]]], [[rows[2], rows[6]], []]]
    batches = [[*a, *b] for a, b in zip(*shares, strict=True)]
    sources = {"outcome": Outcome(odd, processes=0)}
    case = Case(batches=batches, fusion=fusion, rollout=Claimed(), sources=sources)
    expected = alone(case)
    for strategy in STRATEGIES:
        for each in in_two(replace(case, shares=shares), strategy):
            assert_same_metrics(each, expected)
            assert_same_student(each, expected)


def test_the_mean_over_tokens_is_that_of_one_process():
    case = Case(batches=BATCHES, reduction="token")
    expected = alone(case)
    for strategy in STRATEGIES:
        for each in in_two(case, strategy):
            assert_same_metrics(each, expected)
            assert_same_student(each, expected)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_accumulated_micro_batches_equal_the_larger_batch(strategy):
    """Three to a step, and two in the last. A rule that compares with no mean of the batch: routing does, of each."""
    every = examples(16)
    larger = Case(batches=[every[:6], every[6:12], every[12:]], fusion=Teacher(top_k=8), optimizer=sgd)
    micro_batches = [every[start : start + 2] for start in range(0, 16, 2)]
    expected = alone(larger)
    accumulated = replace(larger, batches=micro_batches, trainer={"accumulate_grad_batches": 3})
    for each in [alone(accumulated), *in_two(accumulated, strategy)]:
        assert_same_student(each, expected)
        ends_of_steps = [each["metrics"][last] for last in (2, 5, 7)]
        assert_same_metrics({"metrics": ends_of_steps}, expected)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_process_with_less_to_read_neither_hangs_nor_biases(strategy):
    """The second has one example, then none, then one without a single response token."""
    silent = {**examples(3)[2], "completion": ""}
    first = [BATCHES[0][:3], BATCHES[1], BATCHES[2][:3]]
    second = [BATCHES[0][3:], [], [silent]]
    expected = alone(Case(batches=[[*a, *b] for a, b in zip(first, second, strict=True)]))
    for each in in_two(Case(shares=[first, second]), strategy):
        assert_same_metrics(each, expected)
        assert_same_student(each, expected)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_global_norm_is_clipped(strategy):
    """One step of plain gradient descent moves the student by the learning rate times the clipped norm."""
    case = Case(batches=BATCHES[:1], optimizer=sgd, trainer={"gradient_clip_val": 0.01})
    start, expected = alone(replace(case, trainer={"limit_train_batches": 0}))["student"], alone(case)
    for each in in_two(case, strategy):
        names = set(start) - {"lm_head.weight"}  # tied to the embedding
        moved = sum(float((each["student"][name] - start[name]).square().sum()) for name in names) ** 0.5
        assert moved == pytest.approx(0.5 * 0.01, rel=1e-3)
        assert_same_student(each, expected)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize(
    "rollout",
    [
        StudentRollout(samples_per_prompt=2, max_new_tokens=12),
        TeacherRollout(samples_per_prompt=2, max_new_tokens=12),
        MixedRollout(samples_per_prompt=2, max_new_tokens=12, on_policy=0.5),
    ],
    ids=["student", "teacher", "mixed"],
)
def test_processes_sample_each_its_own(strategy, rollout):
    """Both read the same prompts; they would wait for ever if one needed the other's weights at another time."""
    same = [[examples(2)[1]] * 2 for _ in range(6)]
    first, second = in_two(Case(shares=[same, same], rollout=rollout), strategy)
    pairs = list(zip(first["responses"], second["responses"], strict=True))
    if isinstance(rollout, MixedRollout):  # both take the data's completion, or neither
        static = [tuple(bool((rows == rows[0]).all()) for rows in pair) for pair in pairs]
        assert {(True, True), (False, False)} == set(static)
    else:
        assert not any(a.shape == b.shape and a.equal(b) for a, b in pairs)
    assert_same_student(first, second)


@pytest.mark.parametrize("reference", ["student", "snapshot", "ema"])
def test_adapters_learn_the_same(models, reference):
    """The base of an average is a copy under FSDP2 and shared elsewhere."""
    case = Case(batches=BATCHES, base=str(models / "student"), reference=reference)
    expected = alone(case)
    for strategy in STRATEGIES:
        for each in in_two(case, strategy):
            assert_same_metrics(each, expected)
            assert_same_student(each, expected)
            assert_same_student(each, expected, "reference")


def test_activations_computed_twice_change_nothing_under_fsdp():
    found = in_two(Case(batches=BATCHES, activation_checkpointing=True), "fsdp")[0]
    expected = alone(Case(batches=BATCHES))
    assert_same_metrics(found, expected)
    assert_same_student(found, expected)


@pytest.mark.parametrize(("precision", "teacher"), [("bf16-mixed", torch.bfloat16), ("bf16-true", torch.bfloat16)])
def test_precisions_train_alike_under_fsdp(precision, teacher):
    case = Case(batches=BATCHES[:2], teacher_dtype=teacher, trainer={"precision": precision})
    expected, found = alone(case), in_two(case, "fsdp")
    for here, there in zip(found[0]["metrics"], expected["metrics"], strict=True):
        assert here["train/loss"] == pytest.approx(there["train/loss"], rel=0.05)


def test_generation_gathers_each_weight_once_however_many_tokens_it_writes():
    """Two layers, and embedding and head: three groups of weights."""
    case = Case(strategy="fsdp", batches=BATCHES[:1])
    assert together(2, gathers_in_generation, case, [1, 4, 16]) == [[3, 3, 3]] * 2


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_accuracy_counts_each_problem_once(strategy):
    """Two processes take three and two of five problems; the case's verifier accepts even answers: 2, 4 and 6."""
    assert together(2, evaluate, Case(strategy=strategy)) == [pytest.approx(0.6)] * 2


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_run_that_validates_trains_as_one_process_does(strategy):
    """Evaluation in inference mode before, and in the middle, must leave weights that can be trained."""
    data = {"train": examples(16), "val": examples(5), "batch_size": 4, "seed": 3}
    settings = {"val_check_interval": 2, "num_sanity_val_steps": 1}
    expected = alone(Case(data=data, trainer=settings))
    for each in in_two(Case(data=data | {"batch_size": 2}, trainer=settings), strategy):
        assert_same_metrics(each, expected)
        assert_same_student(each, expected)


def test_the_few_batches_that_are_overfitted_are_dealt_out():
    """Lightning puts another sampler in place of the data module's."""
    data, settings = {"train": examples(16), "batch_size": 4}, {"overfit_batches": 2, "max_epochs": 2}
    expected = alone(Case(data=data, trainer=settings))
    for each in in_two(Case(data=data | {"batch_size": 2}, trainer=settings), "ddp"):
        assert_same_metrics(each, expected)
