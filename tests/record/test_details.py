"""Against distributions written out, one token at a time."""

from __future__ import annotations

import pytest
import torch

from dopd_lightning.record.details import token_details
from dopd_lightning.scores import LogitScores, StateScores
from dopd_lightning.scores.head import Head

MASK = torch.tensor([[1, 1, 0], [1, 1, 1], [1, 0, 0]]).bool()
IDS = torch.zeros(3, 3, dtype=torch.long)
WIDTH, VOCABULARY, TEMPERATURE = 4, 11, 0.7


@pytest.fixture
def policies():
    """States and heads of three policies."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(*shape, generator=generator)

    roles = "student", "teacher", "reference"
    return {role: (draw(3, 3, WIDTH), Head(draw(VOCABULARY + 2, WIDTH), vocabulary_size=VOCABULARY)) for role in roles}


def scores(policies, kind):
    def make(states, head):
        if kind == "states":
            return StateScores(states, head, IDS, MASK, temperature=TEMPERATURE, memory=1e-3)
        logits = states @ head.weight[:VOCABULARY].t()
        return LogitScores(logits, IDS, MASK, temperature=TEMPERATURE)

    return {role: make(*policy) for role, policy in policies.items()}


@pytest.mark.parametrize("kind", ["states", "logits"])
@pytest.mark.parametrize("rollouts", [(0, 1, 2), (2, 0), (1,), ()])
def test_divergences_and_likeliest_tokens_of_the_rollouts_asked_about(policies, kind, rollouts):
    made = scores(policies, kind)
    details = token_details(made.pop("student"), made, MASK, rollouts, alternatives=3)
    assert details.rollouts == rollouts
    logps = {
        role: (states @ head.weight[:VOCABULARY].t() / TEMPERATURE).log_softmax(-1)
        for role, (states, head) in policies.items()
    }
    for place, row in enumerate(rollouts):
        for n in range(int(MASK[row].sum())):
            student = logps["student"][row, n]
            for role in ("teacher", "reference"):
                kl = (student.exp() * (student - logps[role][row, n])).sum()
                torch.testing.assert_close(details.divergence[role][place, n], kl, rtol=1e-4, atol=1e-5)
            for role, found in details.likeliest.items():
                probabilities, ids = logps[role][row, n].exp().topk(3)
                assert found.ids[place, n].tolist() == ids.tolist()
                torch.testing.assert_close(found.probabilities[place, n], probabilities, rtol=1e-4, atol=1e-6)
    for values in details.divergence.values():
        assert values.shape == (len(rollouts), 3)
        assert not values[~MASK[list(rollouts)]].any()


def test_there_are_no_more_alternatives_than_tokens(policies):
    made = scores(policies, "states")
    details = token_details(made["student"], {}, MASK, [0], alternatives=100)
    assert set(details.likeliest) == {"student"}
    assert details.likeliest["student"].ids.shape == (1, 3, VOCABULARY)


def test_nothing_keeps_a_graph(policies):
    states, head = policies["student"]
    student = StateScores(states.requires_grad_(), head, IDS, MASK)
    details = token_details(
        student, {"teacher": StateScores(*policies["teacher"], IDS, MASK)}, MASK, [0], alternatives=1
    )
    assert not details.divergence["teacher"].requires_grad
    assert not details.likeliest["student"].probabilities.requires_grad
