from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dopd_lightning.maps import Snapshot, all_sources


def assert_same(found, expected):
    assert (found.step, dict(found.pieces)) == (expected.step, dict(expected.pieces))
    assert list(found.sources) == list(expected.sources)
    for ours, theirs in zip(found.responses, expected.responses, strict=True):
        for name in ("prompt", "privileged", "fixed", "number"):
            assert getattr(ours, name) == getattr(theirs, name), name
        np.testing.assert_array_equal(ours.token_ids, theirs.token_ids)
        np.testing.assert_array_equal(ours.regimes, theirs.regimes)
        assert list(ours.quantities) == list(theirs.quantities)
        for name, values in theirs.quantities.items():
            np.testing.assert_array_equal(ours.quantities[name], values)
        assert list(ours.alternatives) == list(theirs.alternatives)
        for role, alternatives in theirs.alternatives.items():
            np.testing.assert_array_equal(ours.alternatives[role].ids, alternatives.ids)
            np.testing.assert_array_equal(ours.alternatives[role].probabilities, alternatives.probabilities)


def test_what_is_saved_is_read_again(plain_snapshot, plain_response, tmp_path):
    snapshot = plain_snapshot(
        plain_response(3),
        plain_response(0, number=1),
        plain_response(1, fixed=False, privileged=None, names=("loss",), alternatives={}),
        *(plain_response(2, fixed=False, number=number) for number in range(1, 12)),
        step=70,
    )
    snapshot.save(tmp_path / "step=70.npz")
    assert_same(Snapshot.load(tmp_path / "step=70.npz"), snapshot)


@pytest.mark.parametrize("empty", ["responses", "pieces"])
def test_a_snapshot_of_nothing_too(tmp_path, empty):
    snapshot = Snapshot(0, [], {} if empty == "pieces" else {1: b""})
    snapshot.save(tmp_path / "map.npz")
    assert_same(Snapshot.load(tmp_path / "map.npz"), snapshot)


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    prompt=st.text(st.characters(exclude_categories=[])),  # lone surrogates too
    privileged=st.none() | st.text(),
    pieces=st.dictionaries(st.integers(0, 2**31 - 1), st.binary(max_size=8)),
)
def test_whatever_texts_and_tokens_hold(plain_snapshot, plain_response, tmp_path, prompt, privileged, pieces):
    snapshot = plain_snapshot(plain_response(prompt=prompt, privileged=privileged), pieces=pieces)
    snapshot.save(tmp_path / "map.npz")
    assert_same(Snapshot.load(tmp_path / "map.npz"), snapshot)


def test_files_need_no_pickle(plain_snapshot, tmp_path):
    plain_snapshot().save(tmp_path / "map.npz")
    with np.load(tmp_path / "map.npz", allow_pickle=False) as archive:
        assert all(values.dtype != object for values in archive.values())


@pytest.mark.parametrize("sources", [[], ["maths"], ["maths/hard", "code", "teacher"]])
def test_sources_come_back_in_their_order_with_what_is_known_of_them(make_snapshot, tmp_path, sources):
    snapshot = make_snapshot(["a", "b"], sources=sources)
    snapshot.save(tmp_path / "map.npz")
    assert_same(Snapshot.load(tmp_path / "map.npz"), snapshot)


@pytest.mark.parametrize("sources", [[], ["teacher"], ["reference"], ["teacher", "reference"]])
def test_an_archive_of_before_has_the_sources_that_it_knows_something_of(make_snapshot, tmp_path, sources):
    snapshot = make_snapshot(["a", "b"], sources=sources)
    snapshot.save(tmp_path / "map.npz")
    with np.load(tmp_path / "map.npz") as archive:
        arrays = {name: values for name, values in archive.items() if name != "sources"}
    np.savez_compressed(tmp_path / "map.npz", **arrays)
    assert_same(Snapshot.load(tmp_path / "map.npz"), snapshot)


def test_sources_of_several_snapshots_stand_once(make_snapshot):
    snapshots = [make_snapshot(["a"], sources=sources) for sources in (["b", "a"], ["c", "b"])]
    assert all_sources(snapshots) == ["b", "a", "c"]
