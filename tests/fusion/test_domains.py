"""Weights of domains, against numbers worked out by hand."""

from __future__ import annotations

import pytest
import torch

from dopd_lightning.fusion import Teacher, TokenStatistics
from dopd_lightning.scores import LogitScores


def statistics(student, teacher, owner):
    """Statistics of one rollout over two outcomes, with these probabilities of the response tokens."""
    ids = torch.zeros(1, len(student), dtype=torch.long)
    mask = torch.tensor([[number is not None for number in owner]])

    def scores(probabilities, **more):
        logits = torch.tensor([[[p, 1 - p] for p in probabilities]]).log()
        return LogitScores(logits, ids, mask, **more)

    own = torch.tensor([number for number in owner if number is not None])
    return TokenStatistics(mask, ids, scores(student), {"teacher": scores(teacher, owner=own)})


def weights(rule, given):
    return rule(given).terms[0].weight[0].tolist()


def test_a_domain_is_weighted_by_its_spread():
    # log teacher - log student in units of ln 2: domain 0: 1, -1 (σ 1); domain 1: 2, -2 (σ 2); all: σ sqrt(2.5)
    student, teacher = [0.25, 0.5, 0.125, 0.5, 0.5], [0.5, 0.25, 0.5, 0.125, 0.5]
    given = statistics(student, teacher, [0, 0, 1, 1, None])
    assert weights(Teacher(scale_domains=True), given) == pytest.approx([2.5**0.5] * 2 + [2.5**0.5 / 2] * 2 + [0])
    assert weights(Teacher(), given) == [1, 1, 1, 1, 0]


def test_a_weight_is_a_quarter_at_least_and_four_at_most_and_1_of_a_domain_whose_tokens_are_alike():
    student = [0.5, 0.5, 0.5, 0.5, 0.5, 0.5]
    teacher = [0.5001, 0.4999, 1e-6, 0.999999, 0.5, 0.5]
    found = weights(Teacher(scale_domains=True), statistics(student, teacher, [0, 0, 1, 1, 2, 2]))
    assert found == pytest.approx([4, 4, found[2], found[2], 1, 1])
    assert 0.25 <= found[2] < 1


def test_a_source_without_parts_is_one_domain():
    given = statistics([0.5, 0.25], [0.25, 0.5], [0, 0])
    assert weights(Teacher(scale_domains=True), given) == pytest.approx([1, 1])
