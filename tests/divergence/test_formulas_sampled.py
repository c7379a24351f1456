"""The single-sample estimators of support ``sampled``, against exact enumeration."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from dopd_lightning.divergence import divergence
from dopd_lightning.errors import ConfigError


def random_logits(vocab: int) -> tuple[Tensor, Tensor]:
    student, target = 2 * torch.randn(2, vocab, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return student.requires_grad_(), target


def bernoulli(p: float) -> Tensor:
    return torch.tensor([math.log(p), math.log(1 - p)], dtype=torch.float64)


@pytest.mark.parametrize(("kind", "beta"), [("reverse_kl", 0.5), ("forward_kl", 0.5), ("js", 0.5), ("js", 0.2)])
def test_the_sampled_estimate_is_unbiased_in_value_and_gradient(kind, beta):
    """The mean over y ~ student, by enumeration, is the full divergence; so is the mean gradient."""
    student, target = random_logits(6)
    full = divergence(student, target, kind=kind, beta=beta)
    (full_gradient,) = torch.autograd.grad(full, student)

    each = divergence(
        student.expand(6, 6), target.expand(6, 6), kind=kind, beta=beta, support="sampled", sampled_ids=torch.arange(6)
    )
    mean = (student.detach().softmax(-1) * each).sum()
    (mean_gradient,) = torch.autograd.grad(mean, student)

    assert mean.item() == pytest.approx(full.item())
    assert torch.allclose(mean_gradient, full_gradient)
    assert full_gradient.abs().max() > 0.01


def test_a_single_sample_by_hand():
    """Student (0.5, 0.5), target (0.8, 0.2), y = 0, so w = 1.6; ∇ log student(y) = (0.5, -0.5)."""
    for kind, value, score in [
        ("reverse_kl", -math.log(1.6), -math.log(1.6)),
        ("forward_kl", 1.6 * math.log(1.6), -1.6),
        ("js", 0.8 * math.log(1.6 / 1.3) - 0.5 * math.log(1.3), -0.5 * math.log(1.3)),
    ]:
        student = bernoulli(0.5).requires_grad_()
        estimate = divergence(student, bernoulli(0.8), kind=kind, support="sampled", sampled_ids=torch.tensor(0))
        estimate.backward()
        assert estimate.item() == pytest.approx(value)
        assert student.grad.tolist() == pytest.approx([0.5 * score, -0.5 * score])


def test_sampled_without_ids_is_refused():
    student, target = random_logits(7)
    with pytest.raises(ConfigError, match="sampled_ids"):
        divergence(student, target, support="sampled")
