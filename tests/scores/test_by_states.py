"""Scores equal those of the whole distribution, in any order of calls and with any memory limit."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dopd_lightning.scores import StateScores
from dopd_lightning.scores.distribution import at_ids, entropy, log_probs
from dopd_lightning.scores.head import Head

TEMPERATURE = 0.5


def make(dtype: torch.dtype = torch.float64, **settings: float) -> tuple[StateScores, Tensor]:
    """StateScores of seven tokens in ten places, and their logits."""
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(2, 5, 4, generator=generator, dtype=dtype)
    head = Head(torch.randn(13, 4, generator=generator, dtype=dtype), vocabulary_size=11)
    ids = torch.randint(11, (2, 5), generator=generator)
    mask = torch.tensor([[1, 1, 1, 1, 0], [1, 1, 1, 0, 0]])
    logits = states[mask.bool()].double() @ head.weight[:11].double().t()
    return StateScores(states, head, ids, mask, temperature=TEMPERATURE, **settings), logits


@pytest.mark.parametrize("memory", [0, 0.0003, 64])
@pytest.mark.parametrize("first", ["logp", "log_probs", "table"])
def test_each_statistic_is_that_of_the_whole_distribution(memory, first):
    scores, logits = make(memory=memory, top_k=4)
    some = torch.tensor([5, 0, 2])
    if first == "log_probs":  # some of them become known on the way
        scores.log_probs(some, torch.empty(3, 11, dtype=torch.float64))
    elif first == "table":
        scores.table(2, some)

    at_loss = log_probs(logits / TEMPERATURE)
    assert torch.allclose(scores.logp, at_ids(log_probs(logits), scores.ids))
    assert torch.allclose(scores.entropy, entropy(log_probs(logits)))
    assert torch.allclose(scores.loss_logp, at_ids(at_loss, scores.ids))
    assert torch.allclose(scores.normalizer(torch.arange(7)), (logits / TEMPERATURE).logsumexp(-1))
    assert torch.allclose(scores.log_probs(some, torch.empty(3, 11, dtype=torch.float64)), at_loss[some])
    ids = torch.tensor([[0, 10], [3, 3], [7, 1]])
    assert torch.allclose(scores.log_probs_at(some, ids), at_loss[some].gather(-1, ids))


@pytest.mark.parametrize("top_k", [1, 3, 4])
def test_a_table_holds_the_likeliest_and_the_rest_as_one(top_k):
    scores, logits = make(top_k=4)
    some = torch.tensor([5, 0, 2])
    at_loss = log_probs(logits / TEMPERATURE)[some]
    table = scores.table(top_k, some)
    expected = at_loss.topk(top_k)
    assert torch.equal(table.ids.long(), expected.indices)
    assert torch.allclose(table.logps, expected.values)
    assert torch.allclose(table.tail_logp.exp(), 1 - expected.values.exp().sum(-1))


def test_a_table_of_the_whole_vocabulary_has_an_empty_tail():
    scores, _ = make(top_k=100)
    assert scores.top_k == 11
    assert (scores.table(11, torch.arange(7)).tail_logp.exp() == 0).all()


def test_a_small_tail_keeps_its_digits():
    states, head = torch.tensor([[[1.0]]]), Head(torch.tensor([[0.0], [-40.0], [-41.0]]))
    scores = StateScores(states, head, torch.zeros(1, 1, dtype=torch.long), torch.ones(1, 1), top_k=1)
    expected = torch.tensor([-40.0, -41.0]).logsumexp(-1).item()
    assert scores.table(1, torch.tensor([0])).tail_logp.item() == pytest.approx(expected)  # log(1 - 1) is not


def test_of_16_bits_are_32():
    scores, logits = make(torch.bfloat16)
    assert scores.logp.dtype == torch.float32
    assert torch.allclose(scores.logp.double(), at_ids(log_probs(logits), scores.ids), atol=1e-5)


def test_without_tokens_there_is_nothing_to_know():
    head = Head(torch.randn(11, 4))
    scores = StateScores(torch.randn(2, 5, 4), head, torch.zeros(2, 5, dtype=torch.long), torch.zeros(2, 5), top_k=3)
    assert scores.logp.shape == scores.entropy.shape == (0,)


def test_misaligned_tensors_are_refused():
    with pytest.raises(ValueError, match=r"StateScores: .*states \(2, 4\)"):
        StateScores(
            torch.randn(2, 4, 4), Head(torch.randn(11, 4)), torch.zeros(2, 5, dtype=torch.long), torch.ones(2, 5)
        )
