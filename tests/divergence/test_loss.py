"""One loss, from states or from logits."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dopd_lightning.divergence import Divergence, Term, loss_of
from dopd_lightning.errors import ConfigError
from dopd_lightning.scores import LogitScores, Scores, StateScores
from dopd_lightning.scores.head import Head
from tests.two_sources import pool_of_two

IDS = torch.tensor([[0, 5, 2], [3, 6, 6]])
MASK = torch.tensor([[1, 1, 1], [1, 0, 0]]).bool()
WEIGHT = torch.tensor([[1.0, 0.5, 0.0], [2.0, 0.0, 0.0]], dtype=torch.float64)
TERMS = [
    Term("full", "teacher", Divergence(kind="js"), WEIGHT),
    Term("top", "reference", Divergence(support="top_k", top_k=3), WEIGHT.flip(1) * MASK),
    Term("pool", pool_of_two(0.3), Divergence(kind="forward_kl"), WEIGHT),
    Term("data", "data", Divergence(kind="forward_kl"), WEIGHT),
]


def states_and_weight(role: str) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(("student", "teacher", "reference").index(role))
    states, weight = (torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((2, 3, 4), (7, 4)))
    return states.requires_grad_(), weight.requires_grad_()


def scored(kind: str, temperature: float) -> tuple[Scores, dict[str, Scores], list[Tensor]]:
    """The student's scores, the sources', and what gets the gradient."""
    given = {role: states_and_weight(role) for role in ("student", "teacher", "reference")}
    scores = {
        role: StateScores(states, Head(weight), IDS, MASK, temperature=temperature, top_k=3)
        if kind == "states"
        else LogitScores(states @ weight.t(), IDS, MASK, temperature=temperature)
        for role, (states, weight) in given.items()
    }
    return scores.pop("student"), scores, list(given["student"])


@pytest.mark.parametrize("temperature", [1.0, 0.5])
@pytest.mark.parametrize("reduction", ["rollout", "token"])
def test_both_ways_give_the_same_loss_and_gradient(reduction, temperature):
    found = []
    for kind in ("states", "logits"):
        student, sources, learning = scored(kind, temperature)
        loss, per_token = loss_of(student, sources, TERMS, reduction)
        found.append([loss, per_token, *torch.autograd.grad(loss, learning)])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b)
        assert b.any()


@pytest.mark.parametrize("kind", ["states", "logits"])
def test_the_loss_is_the_mean_over_rollouts_of_the_losses_per_token(kind):
    loss, per_token = loss_of(*scored(kind, 1.0)[:2], TERMS)
    assert loss.requires_grad
    assert not per_token.requires_grad
    assert not per_token[~MASK].any()
    torch.testing.assert_close(loss.detach(), (per_token[0].mean() + per_token[1, 0]) / 2)


@pytest.mark.parametrize("kind", ["states", "logits"])
def test_a_missing_source_is_named(kind):
    with pytest.raises(ConfigError, match="term 'full': needs the teacher's"):
        loss_of(scored(kind, 1.0)[0], {}, TERMS)
