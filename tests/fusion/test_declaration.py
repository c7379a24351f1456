"""Targets and divergences are known before there is a token, and so is whose likeliest tokens are kept."""

from __future__ import annotations

import pytest
import torch

from dopd_lightning.divergence import Divergence, Term, Toward
from dopd_lightning.errors import ConfigError
from dopd_lightning.fusion import (
    DOPD,
    Confidence,
    Data,
    EntropyAware,
    Importance,
    Mixture,
    Pair,
    Product,
    Prune,
    Reference,
    Supervision,
    Teacher,
    TokenStatistics,
    pairs_of,
    tables_of,
)

STUDENTS = {"top_k_of": "student"}
RENORMALIZED = {"top_k_of": "student", "tail": "renormalize"}


ONE_SOURCE = {
    Teacher: "teacher",
    Reference: "reference",
    Importance: "teacher",
    Prune: "teacher",
    EntropyAware: "teacher",
}


@pytest.mark.parametrize(("make", "source"), ONE_SOURCE.items())
def test_rules_with_one_source(make, source):
    assert tables_of(make()) == {}
    assert tables_of(make(support="sampled")) == {}
    assert tables_of(make(support="top_k", top_k=9)) == {source: 9}
    assert tables_of(make(support="top_k", top_k=9, **STUDENTS)) == {}
    assert tables_of(make(support="top_k", top_k=9, **RENORMALIZED)) == {"student": 9}


@pytest.mark.parametrize("make", [Mixture, Product, Confidence])
def test_pools_have_no_table_of_their_own(make):
    for fields in ({}, STUDENTS, RENORMALIZED):
        assert tables_of(make(support="top_k", top_k=9, **fields)) == {}


def test_supervised_fine_tuning_has_none():
    assert tables_of(Data()) == {}


@pytest.mark.parametrize(
    ("fields", "tables"),
    [
        ({}, {"teacher": 9, "reference": 9}),
        ({"tail": "renormalize"}, {"teacher": 9, "reference": 9}),
        (STUDENTS, {}),
        (RENORMALIZED, {"student": 9}),
        ({"support": "full"}, {}),
        ({"support": "sampled"}, {}),
        ({"support": "top_k"}, {"teacher": 9, "reference": 9}),
        ({"source": "teacher"}, {"teacher": 9}),
        ({"source": "reference"}, {"reference": 9}),
        ({"regimes": ["LH"]}, {"teacher": 9}),
        ({"regimes": ["LL", "HS"]}, {"reference": 9}),
        ({"regimes": ["HT"]}, {}),
        ({"regimes": ["HT"], "support": "top_k"}, {"teacher": 9}),
        ({"regimes": ["LL"], "source": "teacher"}, {"teacher": 9}),
        ({"divergence": "js"}, {"teacher": 9, "reference": 9}),
    ],
)
def test_dopd_and_its_ablations(fields, tables):
    assert tables_of(DOPD(top_k=9, **fields)) == tables


class OfTheUsers:
    """A rule with no field that says what its terms are; it counts its calls and draws."""

    needs = frozenset({"teacher"})

    def __init__(self, use="teacher"):
        self.use, self.calls, self.seen = use, 0, []

    def __call__(self, statistics):
        self.calls += 1
        self.seen.append(torch.rand(()))
        if self.use == "nothing made up":
            raise KeyError(self.use)
        weight = (getattr(statistics, f"{self.use}_logp") < 0).float()
        sizes = {"small": 3, "large": 5}
        return Supervision(
            [Term(name, "teacher", Divergence(support="top_k", top_k=k), weight) for name, k in sizes.items()]
        )


def test_a_rule_is_tried_without_leaving_a_trace():
    rule = OfTheUsers()
    torch.manual_seed(0)
    assert [(target, how.top_k) for target, how in pairs_of(rule)] == [(Toward("teacher"), 3), (Toward("teacher"), 5)]
    assert tables_of(rule) == {"teacher": 5}
    drawn = torch.rand(())
    torch.manual_seed(0)
    assert torch.equal(drawn, torch.rand(()))
    assert (rule.calls, rule.seen) == (0, [])


def test_a_rule_that_cannot_be_tried_has_no_pairs_yet_and_one_without_its_source_is_refused():
    assert list(pairs_of(OfTheUsers("nothing made up"))) == []
    with pytest.raises(ConfigError, match="a rule that uses it must name 'reference' in `needs`"):
        pairs_of(OfTheUsers("reference"))


EVERY = [DOPD, Teacher, Reference, Mixture, Product, Confidence, Importance, Prune, EntropyAware, Data]


@pytest.mark.parametrize("make", EVERY)
def test_what_a_rule_declares_is_what_its_terms_have(make):
    rule = make()
    logits = torch.randn(3, 4, 6, 200, generator=torch.Generator().manual_seed(0))
    named = dict(zip(("teacher", "reference"), logits[1:], strict=True))
    statistics = TokenStatistics.from_logits(logits[0], named, torch.ones(4, 6).long(), torch.ones(4, 6))
    found = {(term.target.sources, term.divergence) for term in rule(statistics).terms}
    assert found == {(target.sources, how) for target, how in pairs_of(rule)}
    assert frozenset().union(*(sources for sources, _ in found)) <= rule.needs


def test_a_source_that_needs_does_not_name_is_refused():
    rule = OfTheUsers()
    rule.needs = frozenset({"reference"})
    rule.pairs = [Pair(Toward("teacher"), Divergence())]
    with pytest.raises(
        ConfigError, match=r"uses the source 'teacher', which is missing from its `needs` \(reference\)"
    ):
        pairs_of(rule)


@pytest.mark.parametrize(
    ("rule", "needs"),
    [
        (Teacher(source="maths"), {"maths"}),
        (Mixture(weights={"maths": 0.5, "code": 0.3, "teacher": 0.2}), {"maths", "code", "teacher"}),
        (Product(weights={"maths": 1.5, "code": -0.5}), {"maths", "code"}),
        (Confidence(sources=["maths", "code"]), {"maths", "code"}),
        (DOPD(teacher="maths", reference="code"), {"maths", "code"}),
        (EntropyAware(source="maths"), {"maths"}),
        (Importance(source="maths"), {"maths"}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_sources_have_any_names(rule, needs):
    assert rule.needs == needs
    assert frozenset().union(*(target.sources for target, _ in pairs_of(rule))) == needs
