"""Whose likeliest tokens are kept: those that terms compare, and no others."""

from __future__ import annotations

import pytest

from dopd_lightning.divergence import Divergence
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
    Teacher,
)
from dopd_lightning.fusion.rule import table_sizes

STUDENTS = {"top_k_of": "student"}
RENORMALIZED = {"top_k_of": "student", "tail": "renormalize"}


@pytest.mark.parametrize(
    ("fields", "tables"),
    [
        ({"top_k_of": "target", "tail": "bucket"}, {"teacher": 7, "reference": 7}),
        ({"top_k_of": "target", "tail": "renormalize"}, {"teacher": 7, "reference": 7}),
        ({"top_k_of": "student", "tail": "bucket"}, {}),  # the bucket needs all of the student anyway
        ({"top_k_of": "student", "tail": "renormalize"}, {"student": 7}),
    ],
)
def test_the_likeliest_are_of_whom_the_support_is(fields, tables):
    how = Divergence(support="top_k", top_k=7, **fields)
    assert table_sizes(how, "teacher", "reference") == tables
    assert table_sizes(how) == {}


@pytest.mark.parametrize("support", ["full", "sampled"])
def test_other_supports_need_no_table(support):
    assert table_sizes(Divergence(support=support), "teacher") == {}


ONE_SOURCE = {
    Teacher: "teacher",
    Reference: "reference",
    Importance: "teacher",
    Prune: "teacher",
    EntropyAware: "teacher",
}


@pytest.mark.parametrize(("make", "source"), ONE_SOURCE.items())
def test_rules_with_one_source(make, source):
    assert make().tables == {}
    assert make(support="sampled").tables == {}
    assert make(support="top_k", top_k=9).tables == {source: 9}
    assert make(support="top_k", top_k=9, **STUDENTS).tables == {}
    assert make(support="top_k", top_k=9, **RENORMALIZED).tables == {"student": 9}


@pytest.mark.parametrize("make", [Mixture, Product, Confidence])
def test_pools_have_no_table_of_their_own(make):
    for fields in ({}, STUDENTS, RENORMALIZED):
        assert make(support="top_k", top_k=9, **fields).tables == {}


def test_supervised_fine_tuning_has_none():
    assert getattr(Data(), "tables", {}) == {}


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
    assert DOPD(top_k=9, **fields).tables == tables
