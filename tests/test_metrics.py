from __future__ import annotations

import pytest
import torch

from dopd_lightning.metrics import Accuracy, RegimeCounts, step_metrics
from dopd_lightning.record import TokenRecord

MASK = torch.tensor([[1, 1, 1], [1, 0, 0]]).bool()
RECORD = TokenRecord(
    response_ids=torch.zeros(2, 3, dtype=torch.long),
    mask=MASK,
    loss=torch.zeros(2, 3),
    student_logp=torch.tensor([[-1.0, -2.0, -3.0], [-6.0, -99.0, -99.0]]),
    student_entropy=torch.tensor([[0.5, 1.5, 1.0], [1.0, 99.0, 99.0]]),
    gap=torch.tensor([[0.5, 0.5, 1.0], [2.0, 99.0, 99.0]]),
    regimes=torch.tensor([[0, 0, 2], [3, -1, -1]]),
)


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
    metrics = {name: value.item() for name, value in step_metrics(torch.tensor(0.25), RECORD, 3).items()}
    assert metrics == pytest.approx(
        {
            "train/loss": 0.25,
            "train/response_length": 2.0,
            "train/cut_share": 0.5,
            "train/student_logp": -3.0,
            "train/student_entropy": 1.0,
            "train/gap": 1.0,
            "train/share/LH": 0.5,
            "train/share/LL": 0.0,
            "train/share/HT": 0.25,
            "train/share/HS": 0.25,
        }
    )


def test_step_metrics_of_a_rule_that_does_not_route_and_of_no_token():
    zeros = torch.zeros(1, 1)
    record = TokenRecord(zeros, zeros.bool(), loss=zeros, student_logp=zeros, student_entropy=zeros)
    metrics = step_metrics(zeros.sum(), record, max_new_tokens=3)
    names = "loss", "response_length", "cut_share", "student_logp", "student_entropy"
    assert set(metrics) == {f"train/{name}" for name in names}
    assert all(torch.isfinite(value) for value in metrics.values())
