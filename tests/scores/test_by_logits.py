"""StateScores by logits say what the logits say."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dopd_lightning.scores import LogitScores
from dopd_lightning.scores.distribution import at_ids, entropy

IDS = torch.tensor([[0, 5, 2], [3, -100, -100]])
MASK = torch.tensor([[1, 1, 1], [1, 0, 0]])


def logits() -> Tensor:
    return torch.randn(2, 3, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_statistics_are_at_temperature_1_and_the_losses_logits_at_the_losses():
    scores = LogitScores(logits(), IDS, MASK, temperature=0.5)
    log_probs = logits()[MASK.bool()].log_softmax(-1)
    assert torch.allclose(scores.logp, at_ids(log_probs, torch.tensor([0, 5, 2, 3])))
    assert torch.allclose(scores.entropy, entropy(log_probs))
    assert torch.allclose(scores.loss_logits, logits() * 2)
    assert LogitScores(logits(), IDS, MASK).loss_logits.equal(logits())


def test_16_bit_logits_are_divided_by_the_temperature_in_32_bits():
    given = torch.tensor([[[30.0, 60000.0]]], dtype=torch.float16)
    scores = LogitScores(given, torch.tensor([[0]]), torch.tensor([[1]]), temperature=0.7)
    assert scores.loss_logits.tolist() == [[[pytest.approx(30 / 0.7, rel=1e-6), pytest.approx(6e4 / 0.7, rel=1e-6)]]]


def test_only_the_losses_logits_have_a_graph():
    given = logits().requires_grad_()
    scores = LogitScores(given, IDS, MASK, temperature=0.5)
    assert not scores.logp.requires_grad
    assert not scores.entropy.requires_grad
    assert (torch.autograd.grad(scores.loss_logits.sum(), given)[0] == 2).all()


@pytest.mark.parametrize("poison", [torch.nan, torch.inf])
def test_masked_logits_are_not_read(poison):
    clean = LogitScores(logits(), IDS, MASK)
    dirty = LogitScores(logits().masked_fill(MASK.unsqueeze(-1) == 0, poison), IDS, MASK)
    assert dirty.logp.equal(clean.logp)
    assert dirty.entropy.equal(clean.entropy)


def test_misaligned_tensors_are_refused():
    with pytest.raises(ValueError, match=r"LogitScores: .*logits \(2, 2\)"):
        LogitScores(logits()[:, :2], IDS, MASK)
