from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from dopd_lightning.fusion import Thresholds
from dopd_lightning.record import TokenRecord
from dopd_lightning.record.metrics import Accuracy, RegimeCounts, StepMetrics

MASK = torch.tensor([[1, 1, 1], [1, 0, 0]]).bool()
RECORD = TokenRecord(
    response_ids=torch.zeros(2, 3, dtype=torch.long),
    mask=MASK,
    loss=torch.tensor([[1.0, 3.0, 5.0], [7.0, 99.0, 99.0]]),
    logp={
        "student": torch.tensor([[-1.0, -2.0, -3.0], [-6.0, -99.0, -99.0]]),
        "teacher": torch.tensor([[-2.0, -3.0, -4.0], [-7.0, -99.0, -99.0]]),
    },
    entropy={
        "student": torch.tensor([[0.5, 1.5, 1.0], [1.0, 99.0, 99.0]]),
        "teacher": torch.tensor([[0.5, 0.5, 0.5], [0.5, 99.0, 99.0]]),
    },
    gap=torch.tensor([[0.5, 0.5, 1.0], [2.0, 99.0, 99.0]]),
    regimes=torch.tensor([[0, 0, 2], [3, -1, -1]]),
    thresholds=Thresholds(gap=0.7, teacher_prob=0.8, reference_prob=0.9),
    ended=torch.tensor([False, True]),
)


def step_metrics(loss, record, max_new_tokens):
    metrics = StepMetrics()
    metrics.add(loss, record, max_new_tokens)
    return metrics.take()


def test_regimes_are_counted_over_updates_without_masked_tokens():
    counts = RegimeCounts()
    assert counts.shares() == {}
    counts.update(torch.tensor([[0, 0, -1], [3, -1, -1]]))
    counts.update(torch.tensor([[2]]))
    assert counts.compute().tolist() == [2, 0, 1, 1]
    assert counts.shares() == {"LH": 0.5, "LL": 0.0, "HT": 0.25, "HS": 0.25}


def test_accuracy_stays_exact_where_a_bfloat16_mean_would_stop_counting_at_256():
    accuracy = Accuracy()
    torch.nn.ModuleDict({"accuracy": accuracy}).to(torch.bfloat16)
    for number in range(600):
        accuracy.update(number % 4 != 0)
    assert accuracy.compute().item() == 0.75


def test_step_metrics_are_means_over_response_tokens_alone():
    assert step_metrics(torch.tensor(0.25), RECORD, 3) == pytest.approx(
        {
            "train/loss": 0.25,
            "train/response/length": 2.0,
            "train/response/cut_share": 0.5,
            "train/response/eos_share": 0.5,
            "train/logp/student": -3.0,
            "train/logp/teacher": -4.0,
            "train/divergence/teacher": 1.0,
            "train/entropy/student": 1.0,
            "train/entropy/teacher": 0.5,
            "train/gap": 1.0,
            "train/share/LH": 0.5,
            "train/share/LL": 0.0,
            "train/share/HT": 0.25,
            "train/share/HS": 0.25,
            "train/loss_share/LH": 4 / 16,
            "train/loss_share/LL": 0.0,
            "train/loss_share/HT": 5 / 16,
            "train/loss_share/HS": 7 / 16,
            "train/loss/LH": 2.0,
            "train/loss/HT": 5.0,
            "train/loss/HS": 7.0,
            "train/gap/LH": 0.5,
            "train/gap/HT": 1.0,
            "train/gap/HS": 2.0,
            "train/threshold/gap": 0.7,
            "train/threshold/teacher_prob": 0.8,
            "train/threshold/reference_prob": 0.9,
        }
    )


def test_every_source_has_its_metrics_under_its_name_in_the_order_of_the_record():
    logp = RECORD.logp["student"]
    names = ("student", "maths", "reference", "code")
    record = replace(
        RECORD,
        logp={name: logp - place for place, name in enumerate(names)},
        entropy={name: torch.full_like(logp, place) for place, name in enumerate(names)},
    )
    metrics = step_metrics(torch.tensor(0.25), record, 3)
    for place, name in enumerate(names):
        assert metrics[f"train/logp/{name}"] == -3.0 - place
        assert metrics[f"train/entropy/{name}"] == place
        assert metrics.get(f"train/divergence/{name}") == (None if name == "student" else place)
    assert [name.removeprefix("train/logp/") for name in metrics if name.startswith("train/logp/")] == list(names)


def test_a_response_that_ends_at_the_length_limit_is_not_cut():
    record = replace(RECORD, ended=torch.tensor([True, True]))
    metrics = step_metrics(torch.tensor(0.25), record, 3)
    assert (metrics["train/response/cut_share"], metrics["train/response/eos_share"]) == (0, 1)


def test_a_regime_without_a_token_has_a_share_but_no_loss_and_no_gap():
    metrics = step_metrics(torch.tensor(0.25), RECORD, 3)
    assert metrics["train/share/LL"] == 0
    assert not {"train/loss/LL", "train/gap/LL"} & set(metrics)


def test_step_metrics_of_a_rule_that_does_not_route_and_of_no_token():
    zeros = torch.zeros(1, 1)
    record = TokenRecord(zeros, zeros.bool(), loss=zeros, logp={"student": zeros}, entropy={"student": zeros})
    responses = {f"train/response/{name}": 0 for name in ("length", "cut_share", "eos_share")}
    assert step_metrics(zeros.sum(), record, max_new_tokens=3) == {"train/loss": 0, **responses}


def test_the_metrics_of_a_step_are_means_over_the_tokens_of_all_its_micro_batches():
    metrics = StepMetrics()
    metrics.add(torch.tensor(0.25), RECORD, 3)
    one_token = replace(
        RECORD,
        mask=torch.tensor([[1, 0, 0], [0, 0, 0]]).bool(),
        regimes=torch.tensor([[1, -1, -1], [-1, -1, -1]]),
        thresholds=Thresholds(gap=0.9, teacher_prob=0.8, reference_prob=0.9),
    )
    metrics.add(torch.tensor(0.75), one_token, 3)
    found = metrics.take()
    assert found["train/loss"] == 0.5
    assert found["train/logp/student"] == pytest.approx((-1 - 2 - 3 - 6 - 1) / 5)  # not the mean of -3 and -1
    assert found["train/response/length"] == pytest.approx((3 + 1 + 1 + 0) / 4)
    assert (found["train/loss/LL"], found["train/loss/HT"]) == (1.0, 5.0)
    assert found["train/share/LL"] == pytest.approx(1 / 5)
    assert found["train/threshold/gap"] == pytest.approx(0.8)
    assert metrics.take() == {}  # nothing is left for the next step


def test_rewards_have_a_mean_a_spread_and_a_share_that_is_unknown():
    """Known rewards 1, 0 and 0.5 over two micro-batches: their mean is 0.5, their variance 1 / 6."""
    metrics = StepMetrics()
    for rewards in ([1.0, 0.0], [0.5, torch.nan]):
        metrics.add(torch.tensor(0.0), replace(RECORD, rewards={"outcome": torch.tensor(rewards)}), 3)
    found = metrics.take()
    assert found["train/reward/outcome"] == pytest.approx(0.5)
    assert found["train/reward_spread/outcome"] == pytest.approx((1 / 6) ** 0.5)
    assert found["train/reward_unknown/outcome"] == 0.25


def test_rewards_of_tokens_are_read_where_the_mask_is_true():
    of_tokens = torch.tensor([[1.0, 2.0, 3.0], [6.0, torch.nan, 99.0]])
    found = step_metrics(torch.tensor(0.0), replace(RECORD, rewards={"judge": of_tokens}), 3)
    assert found["train/reward/judge"] == 3.0
    assert found["train/reward_unknown/judge"] == 0


def test_length_counts_tokens_that_are_not_the_students_own():
    record = replace(RECORD, lengths=torch.tensor([3, 3]))
    found = step_metrics(torch.tensor(0.0), record, 3)
    assert found["train/response/length"] == 3
    assert found["train/response/cut_share"] == 0.5
