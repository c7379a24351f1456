"""Dual on-policy distillation: what each regime is supervised by, and the paper's ablations."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from dopd_lightning.divergence import Toward
from dopd_lightning.errors import ConfigError
from dopd_lightning.fusion import DOPD, Regime, Supervision, Thresholds
from tests.two_sources import statistics_of

LH, LL, HT, HS = Regime


def rows(*probs: list[float]) -> torch.Tensor:
    return torch.tensor([probs]).log()


# The response token is 0 everywhere; one token of each regime, and one that is masked.
STATISTICS = statistics_of(
    rows(*[[0.5, 0.25, 0.25]] * 5),
    rows([0.8, 0.1, 0.1], [0.2, 0.4, 0.4], [0.8, 0.1, 0.1], [0.1, 0.1, 0.8], [0.1, 0.1, 0.8]),
    rows([0.6, 0.2, 0.2], [0.1, 0.8, 0.1], [0.1, 0.8, 0.1], [0.8, 0.1, 0.1], [0.8, 0.1, 0.1]),
    torch.zeros(1, 5, dtype=torch.long),
    torch.tensor([[1, 1, 1, 1, 0]]),
)


def table(supervision: Supervision) -> dict[str, tuple]:
    return {
        term.name: (term.target, term.divergence.kind, term.divergence.support, term.weight[0].tolist())
        for term in supervision.terms
    }


def test_the_table_of_regimes():
    supervision = DOPD(beta_light=0.5, beta_weak=0.25)(STATISTICS)
    assert supervision.regimes.tolist() == [[LH, LL, HT, HS, -1]]
    assert table(supervision) == {
        "LH": (Toward("teacher"), "reverse_kl", "top_k", [0.5, 0, 0, 0, 0]),
        "LL": (Toward("reference"), "reverse_kl", "top_k", [0, 0.25, 0, 0, 0]),
        "HT": (Toward("teacher"), "js", "full", [0, 0, 1, 0, 0]),
        "HS": (Toward("reference"), "reverse_kl", "top_k", [0, 0, 0, 0.5, 0]),
    }


def test_the_papers_settings_are_the_defaults():
    rule = DOPD()
    assert (rule.beta_light, rule.beta_weak, rule.beta_js, rule.top_k, rule.outlier_fraction) == (
        0.6,
        0.3,
        0.5,
        128,
        0.05,
    )
    assert (rule.normalize, rule.top_k_of, rule.tail) == ("none", "target", "bucket")
    assert rule.needs == {"teacher", "reference"}


def test_routing_does_not_look_at_the_bare_student():
    teacher, reference = (STATISTICS.sources[name].logits for name in ("teacher", "reference"))
    other = statistics_of(rows(*[[0.01, 0.01, 0.98]] * 5), teacher, reference, STATISTICS.response_ids, STATISTICS.mask)
    assert DOPD()(other).regimes.equal(DOPD()(STATISTICS).regimes)


def test_options_reach_the_divergences():
    terms = DOPD(beta_js=0.3, top_k=2, top_k_of="student", tail="renormalize")(STATISTICS).terms
    for term in terms:
        options = term.divergence
        assert (options.beta, options.top_k, options.top_k_of, options.tail) == (0.3, 2, "student", "renormalize")


def test_options_reach_the_routing():
    """Gaps are log 4/3, log 2, log 8 and log 8; of the two largest the earlier is left out of the means."""
    found = DOPD(outlier_fraction=0.25, normalize="minmax")(STATISTICS).thresholds
    assert found.gap == pytest.approx((math.log(4 / 3) + math.log(2) + math.log(8)) / 3)
    assert (found.teacher_scale, found.reference_scale) == (pytest.approx(0.8 - 0.1), pytest.approx(0.8 - 0.1))
    given = Thresholds(gap=10.0, teacher_prob=0.0, reference_prob=0.0)
    assert DOPD()(replace(STATISTICS, thresholds=given)).regimes.tolist() == [[LH, LH, LH, LH, -1]]


def test_ends_of_responses_may_be_left_out_of_the_means_and_are_routed_all_the_same():
    """Probabilities of token 0 by hand; token 2 ends the second response, and both sources are sure of it."""
    ids, mask = torch.tensor([[0, 0], [0, 2]]), torch.ones(2, 2)
    teacher = torch.tensor([[[0.8, 0.1, 0.1], [0.2, 0.4, 0.4]], [[0.4, 0.3, 0.3], [0.05, 0.05, 0.9]]]).log()
    reference = torch.tensor([[[0.4, 0.3, 0.3], [0.1, 0.8, 0.1]], [[0.4, 0.3, 0.3], [0.05, 0.05, 0.9]]]).log()
    statistics = statistics_of(teacher, teacher, reference, ids, mask, end_ids=[2, 7])
    counted = DOPD(outlier_fraction=0)(statistics)
    left_out = DOPD(outlier_fraction=0, ends_in_means=False)(statistics)
    assert counted.thresholds.teacher_prob == pytest.approx((0.8 + 0.2 + 0.4 + 0.9) / 4)
    assert left_out.thresholds.teacher_prob == pytest.approx((0.8 + 0.2 + 0.4) / 3)
    assert left_out.thresholds.reference_prob == pytest.approx((0.4 + 0.1 + 0.4) / 3)
    assert left_out.thresholds.gap == pytest.approx(2 * math.log(2) / 3)
    assert counted.regimes.tolist() == [[HT, HT], [LL, LH]]
    assert left_out.regimes.tolist() == [[HT, HT], [LH, LH]]
    with pytest.raises(ConfigError, match="ends: end_ids is None; give TokenStatistics the ids"):
        DOPD(ends_in_means=False)(STATISTICS)


def test_ablation_some_regimes_only():
    supervision = DOPD(regimes=["HT", "LH"])(STATISTICS)
    assert set(table(supervision)) == {"LH", "HT"}
    assert supervision.regimes.tolist() == [[LH, LL, HT, HS, -1]]  # still routed, so that their share is known


def test_ablation_one_divergence():
    found = table(DOPD(divergence="forward_kl")(STATISTICS))
    assert {row[1] for row in found.values()} == {"forward_kl"}
    assert {row[2] for row in found.values()} == {"top_k", "full"}


def test_ablation_one_support():
    found = table(DOPD(support="full")(STATISTICS))
    assert {row[2] for row in found.values()} == {"full"}
    assert found["HT"][1] == "js"


@pytest.mark.parametrize("source", ["teacher", "reference"])
def test_ablation_one_source(source):
    found = table(DOPD(source=source)(STATISTICS))
    assert {row[0] for row in found.values()} == {Toward(source)}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beta_light": -1.0}, "beta_light"),
        ({"beta_weak": -1.0}, "beta_weak"),
        ({"beta_js": 1.5}, "beta_js"),
        ({"beta_js": 1.0}, "beta_js: 1.0 must be above 0 and below 1"),
        ({"beta_js": 0.0}, "beta_js"),
        ({"outlier_fraction": 1.0}, "outlier_fraction"),
        ({"normalize": "rank"}, "normalize"),
        ({"ends_in_means": "no"}, "ends_in_means: 'no' must be true or false"),
        ({"top_k": 0}, "top_k"),
        ({"top_k_of": "reference"}, "top_k_of"),
        ({"tail": "none"}, "tail"),
        ({"regimes": ["LH", "XX"]}, "regimes: 'XX' is not one of HS, HT, LH, LL"),
        ({"regimes": []}, "regimes: the list is empty"),
        ({"regimes": "HT"}, r"regimes: 'HT' must be a list, such as \[HT\]"),
        ({"divergence": "kl"}, "divergence: 'kl'"),
        ({"support": "all"}, "support: 'all'"),
        ({"source": "student"}, "source: 'student'"),
    ],
)
def test_fields_are_checked_when_the_rule_is_made(options, message):
    with pytest.raises(ConfigError, match=message):
        DOPD(**options)
