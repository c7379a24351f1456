"""Decoding gives the encoded snapshot back. (The page's own decoder: test_appearance.py.)"""

from __future__ import annotations

import json
import zlib
from base64 import b64decode

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dopd_lightning.maps import Snapshot
from dopd_lightning.maps.encoding import ABSENT, FEW, NEEDED, encoded, plan
from dopd_lightning.maps.visible import CONTINUED

ROWS = st.lists(st.lists(st.binary(max_size=4), max_size=9), max_size=4)


def layers_of(snapshot):
    layers = plan(snapshot.sources)
    return {
        layer.name: b"" if text == ABSENT else zlib.decompress(b64decode(text), wbits=-15)
        for layer, text in zip(layers, encoded(snapshot).written(layers), strict=True)
    }


def bytes_of(layers, name):
    return np.frombuffer(layers[name], dtype=np.uint8).astype(int)


def ids_in(planes):
    low, middle, high = planes.reshape(3, -1)
    return low + 256 * middle + 65_536 * high


def value_of(code):
    return 1e-4 * np.expm1(code / 0xFBFF * np.log1p(2**14 / 1e-4))


def joined(snapshot, of):
    return np.concatenate([np.zeros(0), *(of(response) for response in snapshot.responses)])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
@given(rows=ROWS, step=st.integers(0, 10_000))
def test_ids_regimes_and_numbers_come_back(make_snapshot, rows, step):
    snapshot = make_snapshot(*rows, step=step)
    layers, count = layers_of(snapshot), sum(map(len, rows))
    header = json.loads(layers["texts"])
    assert header["step"] == step
    assert [response["tokens"] for response in header["responses"]] == [len(row) for row in rows]
    assert (ids_in(bytes_of(layers, "ids")) == joined(snapshot, lambda response: response.token_ids)).all()
    assert (bytes_of(layers, "regimes") == joined(snapshot, lambda response: response.regimes)).all()
    for index, name in enumerate(header["quantities"]):
        plane = slice(index * count, (index + 1) * count)
        code = bytes_of(layers, f"coarse/{name}")[:count] << 10
        code += (bytes_of(layers, "finer")[plane] << 8) + bytes_of(layers, "fine")[plane]
        expected = joined(snapshot, lambda response, name=name: response.quantities[name])
        np.testing.assert_allclose(value_of(code), expected, rtol=2e-4, atol=3e-8)


def test_signs_come_back(make_snapshot):
    snapshot = make_snapshot(["a"] * 11, quantities={"loss": np.array([1, -2] * 5 + [-3], dtype=np.float32)})
    signs = np.unpackbits(bytes_of(layers_of(snapshot), "coarse/loss")[11:].astype(np.uint8), bitorder="little")
    assert signs[:11].tolist() == [0, 1] * 5 + [1]


def test_alternatives_come_in_parts_the_tokens_with_the_largest_gap_first(make_snapshot):
    gap = np.random.default_rng(0).permutation(100).astype(np.float32)
    snapshot = make_snapshot([str(n) for n in range(100)], quantities={"gap": gap}, alternatives=5)
    layers, seen = layers_of(snapshot), np.zeros(100, dtype=bool)
    (response,) = snapshot.responses
    fine = bytes_of(layers, "alternatives/fine").reshape(3, 100, 5)
    for share, largest in (32, 4), (8, 13), (1, 100):
        data = bytes_of(layers, f"alternatives/{share}")
        which = np.unpackbits(data[:13].astype(np.uint8), bitorder="little")[:100].astype(bool)
        assert not (which & seen).any()
        seen |= which
        assert set(gap[seen]) == set(range(100 - largest, 100))
        planes = data[13:].reshape(4, 3, which.sum(), FEW)
        for role, alternatives in enumerate(response.alternatives.values()):
            ids = ids_in(planes[:3, role].reshape(3, -1)).reshape(-1, FEW)
            assert (ids == alternatives.ids[which, :FEW]).all()
            found = value_of((planes[3, role] << 8) + fine[role, which, :FEW])
            np.testing.assert_allclose(found, alternatives.probabilities[which, :FEW], rtol=2e-4, atol=3e-8)
    rest = bytes_of(layers, "alternatives/more").reshape(4, 3, 100, 2)
    for role, alternatives in enumerate(response.alternatives.values()):
        assert (ids_in(rest[:3, role].reshape(3, -1)).reshape(100, 2) == alternatives.ids[:, FEW:]).all()
        found = value_of((rest[3, role] << 8) + fine[role, :, FEW:])
        np.testing.assert_allclose(found, alternatives.probabilities[:, FEW:], rtol=2e-4, atol=3e-8)


def test_without_a_gap_the_loss_says_which_alternatives_come_first(make_snapshot):
    loss = np.arange(64, dtype=np.float32)
    layers = layers_of(make_snapshot([str(n) for n in range(64)], quantities={"loss": loss}))
    which = np.unpackbits(bytes_of(layers, "alternatives/32")[:8].astype(np.uint8), bitorder="little")
    assert np.flatnonzero(which).tolist() == [62, 63]


def test_a_rule_without_a_reference_has_no_layers_of_one(make_snapshot):
    layers = layers_of(make_snapshot(["a", "b"], without=["gap"], sources=["teacher"]))
    assert [name for name, data in layers.items() if not data] == ["coarse/gap"]
    assert not [name for name in layers if "reference" in name]
    assert json.loads(layers["texts"])["policies"] == ["student", "teacher"]


def test_a_source_may_be_called_anything(make_snapshot):
    sources = ["maths/hard", "<b>", "teacher"]
    snapshot = make_snapshot(["a"] * 9, sources=sources)
    layers = layers_of(snapshot)
    assert json.loads(layers["texts"])["policies"] == ["student", *sources]
    for name, values in snapshot.responses[0].quantities.items():
        code = bytes_of(layers, f"coarse/{name}")[:9] << 10
        np.testing.assert_allclose(value_of(code + 512), values, rtol=0.2, atol=1e-3)


@pytest.mark.parametrize("rows", [[], [[]], [[], ["a"], []]])
def test_responses_may_be_empty_or_none(make_snapshot, rows):
    header = json.loads(layers_of(make_snapshot(*rows))["texts"])
    assert [response["tokens"] for response in header["responses"]] == [len(row) for row in rows]


def test_parts_of_characters_are_told_with_their_place(make_snapshot):
    snapshot = make_snapshot(["a"] * 6, ["b", b"\xf0\x9f", b"\x99\x82", b"\xff"])
    parts = json.loads(layers_of(snapshot)["texts"])["parts"]
    assert parts == [[7, "🙂", "bytes 1–2 of the 4 of 🙂"], [8, CONTINUED, "bytes 3–4 of the 4 of 🙂"]]


def test_a_character_is_not_put_together_across_responses(make_snapshot):
    assert json.loads(layers_of(make_snapshot([b"\xc3"], [b"\xa9"]))["texts"])["parts"] == []


def test_each_layer_knows_its_tokens(make_snapshot):
    snapshot = make_snapshot(["a", "b", "a"])
    by_layer = encoded(snapshot).ids
    (response,) = snapshot.responses
    assert set(by_layer["ids"]) == set(response.token_ids)
    asked = np.concatenate([found.ids.ravel() for found in response.alternatives.values()])
    assert set(np.concatenate([by_layer[f"alternatives/{part}"] for part in ("32", "8", "1", "more")])) == set(asked)


def test_scales_end_where_one_token_in_a_hundred_is_larger(make_snapshot):
    gap = np.arange(1000, dtype=np.float32)
    gap[7] = np.nan
    scales = encoded(make_snapshot(["a"] * 1000, quantities={"gap": gap, "loss": np.ones(1000, np.float32)})).scales
    assert scales["gap"] == pytest.approx(989, abs=1)
    assert scales["loss_share"] == pytest.approx(1 / 1000)


def test_a_snapshot_is_encoded_once_while_it_lives(make_snapshot):
    snapshot = make_snapshot(["a"], step=1)
    other = Snapshot(2, snapshot.responses, snapshot.pieces)
    assert encoded(snapshot) is encoded(snapshot)
    assert encoded(other) is not encoded(snapshot)


def test_what_a_page_never_gives_up_comes_first():
    layers = plan(["teacher", "maths"])
    assert layers[: len(NEEDED)] == NEEDED
    assert [bool(layer.without) for layer in layers] == [layer not in NEEDED for layer in layers]
