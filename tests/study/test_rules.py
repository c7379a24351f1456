"""Routing rules of the study, against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from dopd_lightning.divergence import Toward
from dopd_lightning.fusion import TokenStatistics
from dopd_lightning.fusion.routing import Thresholds
from study.rules import MedianRouting, Posterior, SoftRouting
from tests.two_sources import statistics_of


def statistics(teacher, reference, mask=None, thresholds=None):
    """The response token is 0 everywhere; teacher and reference give it these probabilities."""

    def logits(probs):
        return torch.tensor([[[p, (1 - p) / 2, (1 - p) / 2] for p in probs]]).log()

    n = len(teacher)
    made = statistics_of(
        logits([0.5] * n),
        logits(teacher),
        logits(reference),
        torch.zeros(1, n, dtype=torch.long),
        torch.tensor([mask or [1] * n]),
    )
    return made if thresholds is None else TokenStatistics(**{**vars(made), "thresholds": thresholds})


def weights(supervision):
    return {term.name: term.weight[0].tolist() for term in supervision.terms}


def test_soft_routing_shares_a_token_out():
    # Means: gap 2 ln 2, sum 0.6. The token: gap ln 2 -> 1/3 large; sum 0.6 -> 1/2 likely; 0.4 of 0.6 -> 2/3 ahead.
    limits = Thresholds(gap=2 * math.log(2), teacher_prob=0.4, reference_prob=0.2)
    rule = SoftRouting(beta_light=1, beta_weak=1)
    assert weights(rule(statistics([0.4], [0.2], thresholds=limits))) == {
        "LH": pytest.approx([2 / 3 * 1 / 2]),
        "LL": pytest.approx([2 / 3 * 1 / 2]),
        "HT": pytest.approx([1 / 3 * 2 / 3]),
        "HS": pytest.approx([1 / 3 * 1 / 3]),
    }


def test_soft_routing_has_dopd_s_targets_divergences_and_weights():
    given = statistics([0.8, 0.2, 0.8, 0.1], [0.6, 0.1, 0.1, 0.8])
    rule = SoftRouting()
    equal = weights(SoftRouting(beta_light=1, beta_weak=1)(given))
    assert weights(rule(given)) == {
        "LH": pytest.approx([0.6 * share for share in equal["LH"]]),
        "LL": pytest.approx([0.3 * share for share in equal["LL"]]),
        "HT": pytest.approx(equal["HT"]),
        "HS": pytest.approx([0.6 * share for share in equal["HS"]]),
    }
    assert [sum(shares) for shares in zip(*equal.values(), strict=True)] == pytest.approx([1.0] * 4)
    assert [(term.target, term.divergence.kind) for term in rule(given).terms] == [
        (Toward("teacher"), "reverse_kl"),
        (Toward("reference"), "reverse_kl"),
        (Toward("teacher"), "js"),
        (Toward("reference"), "reverse_kl"),
    ]


def test_soft_routing_gives_masked_tokens_nothing():
    given = statistics([0.8, 0.2], [0.6, 0.1], mask=[1, 0])
    assert all(each[1] == 0 for each in weights(SoftRouting()(given)).values())


def test_soft_routing_of_sources_that_agree():
    shares = weights(SoftRouting(beta_light=1, beta_weak=1)(statistics([0.5, 0.5], [0.5, 0.5])))
    assert [sum(each) for each in zip(*shares.values(), strict=True)] == pytest.approx([1.0, 1.0])


def test_median_routing_is_not_moved_by_the_size_of_the_largest_gap():
    small, large = ([0.5, 0.5, 0.5, 0.5, last] for last in (0.2, 1e-9))
    for reference in (small, large):
        supervision = MedianRouting(outlier_fraction=0)(statistics([0.5, 0.4, 0.3, 0.2, 0.5], reference))
        # Gaps 0, ln 1.25, ln 5/3, ln 2.5 and the last: the third is the median, and not below itself.
        assert [regime in (2, 3) for regime in supervision.regimes[0].tolist()] == [False, False, True, True, True]


def test_posterior_weighs_sources_by_which_of_them_wrote_the_token():
    (term,) = Posterior()(statistics([0.6, 0.2], [0.2, 0.6])).terms
    assert term.target.weights["teacher"][0].tolist() == pytest.approx([0.75, 0.25])
    assert not term.target.geometric
