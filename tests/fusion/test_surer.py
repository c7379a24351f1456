"""DOPD, with the surer of two sources at large gaps."""

from __future__ import annotations

import pytest
import torch

from dopd_lightning.divergence import Toward
from dopd_lightning.fusion import DOPD, Regime, Surer
from tests.two_sources import statistics_of

LH, LL, HT, HS = Regime


def rows(*probs: list[float]) -> torch.Tensor:
    return torch.tensor([probs]).log()


SURE, UNSURE, EVEN = [0.1, 0.8, 0.1], [0.6, 0.2, 0.2], [0.4, 0.3, 0.3]
# Token 0 was sampled everywhere. Gaps: log 1 = 0 at the first and last token, log 6 at the others.
TEACHER, REFERENCE = rows(EVEN, SURE, UNSURE, [0.1, 0.45, 0.45]), rows(EVEN, UNSURE, SURE, [0.1, 0.45, 0.45])
IDS, MASK = torch.zeros(1, 4, dtype=torch.long), torch.ones(1, 4)
STUDENT = rows(*[EVEN] * 4)
STATISTICS = statistics_of(STUDENT, TEACHER, REFERENCE, IDS, MASK)


def test_the_source_of_lower_entropy_teaches_at_large_gaps():
    """DOPD goes by the sampled token instead: the reference finds the second one likelier, the teacher the third."""
    assert DOPD()(STATISTICS).regimes.tolist() == [[LH, HS, HT, LL]]
    assert Surer()(STATISTICS).regimes.tolist() == [[LH, HT, HS, LL]]


def test_small_gaps_and_thresholds_are_those_of_dopd():
    assert Surer()(STATISTICS).thresholds == DOPD()(STATISTICS).thresholds
    for regime in (LH, LL):
        ours, papers = (rule()(STATISTICS).regimes == regime for rule in (Surer, DOPD))
        assert ours.equal(papers)


def test_of_equal_entropies_the_teachers_counts_as_lower():
    likely, unlikely = rows([0.5, 0.5], [0.8, 0.2]), rows([0.5, 0.5], [0.2, 0.8])
    for teacher, reference in ((likely, unlikely), (unlikely, likely)):
        found = Surer()(statistics_of(teacher, teacher, reference, IDS[:, :2], MASK[:, :2])).regimes
        assert found[0, 1] == HT


def test_one_divergence_measures_every_regime():
    terms = {term.name: term for term in Surer(beta_light=0.5, beta_weak=0.25)(STATISTICS).terms}
    assert {name: (term.target, term.weight[0].tolist()) for name, term in terms.items()} == {
        "LH": (Toward("teacher"), [0.5, 0, 0, 0]),
        "LL": (Toward("reference"), [0, 0, 0, 0.25]),
        "HT": (Toward("teacher"), [0, 1, 0, 0]),
        "HS": (Toward("reference"), [0, 0, 0.5, 0]),
    }
    assert {term.divergence.kind for term in terms.values()} == {"reverse_kl"}
    assert {pair.divergence.kind for pair in Surer().pairs} == {"reverse_kl"}
    assert {pair.divergence.kind for pair in Surer(divergence=None).pairs} == {"reverse_kl", "js"}


@pytest.mark.parametrize("names", [("teacher", "reference"), ("maths", "code")])
def test_sources_have_any_names(names):
    logits = dict(zip(names, (TEACHER, REFERENCE), strict=True))
    statistics = type(STATISTICS).from_logits(STUDENT, logits, IDS, MASK)
    rule = Surer(teacher=names[0], reference=names[1])
    assert rule(statistics).regimes.tolist() == [[LH, HT, HS, LL]]
    assert rule.needs == {*names}
