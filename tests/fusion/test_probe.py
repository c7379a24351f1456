"""Terms are known before there is a token, and so is whose likeliest tokens are kept: those that terms compare."""

from __future__ import annotations

import pytest
import torch

from dopd_lightning.divergence import Divergence, Term
from dopd_lightning.errors import ConfigError
from dopd_lightning.fusion import (
    DOPD,
    Confidence,
    Data,
    EntropyAware,
    Importance,
    Mixture,
    Product,
    Prune,
    Reference,
    Supervision,
    Teacher,
    tables_of,
    terms_of,
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
    assert [term.name for term in terms_of(rule)] == ["small", "large"]
    assert tables_of(rule) == {"teacher": 5}
    drawn = torch.rand(())
    torch.manual_seed(0)
    assert torch.equal(drawn, torch.rand(()))
    assert (rule.calls, rule.seen) == (0, [])


def test_a_rule_that_cannot_be_tried_has_no_terms_yet_and_one_without_its_source_is_refused():
    assert list(terms_of(OfTheUsers("nothing made up"))) == []
    with pytest.raises(ConfigError, match="a rule that uses it must name 'reference' in `needs`"):
        terms_of(OfTheUsers("reference"))
