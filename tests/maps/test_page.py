"""One file that needs nothing else, stays below its limit, and says what that cost."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import re
from dataclasses import replace

import pytest

from benchmarks.made_up_maps import at_random, like_a_run
from dopd_lightning.fusion import Regime
from dopd_lightning.maps import encoding as encoding_module
from dopd_lightning.maps import quantities_of, render_page
from dopd_lightning.maps.page import regimes_in_words

PAIR = ("teacher", "reference")
EVENLY = [[0, 10, 20, 30, 40, 50], [0, 10, 20, 40, 50], [0, 20, 30, 50], [0, 20, 50], [0, 50], [50], []]
EMPTY = len(render_page([], title="").encode())


def index_of(page):
    return json.loads(re.search(r'id="index">(.*?)</script>', page)[1])


def notice_of(page):
    found = re.search(r'id="notice" role="note">(.*?)</p>', page)
    return found and found[1]


@pytest.fixture(scope="module")
def steps(make_snapshot):
    rng = random.Random(0)  # the vocabulary has to count, too
    rows = [[f"{rng.getrandbits(400):x}" for _ in range(60)] for _ in range(4)]
    return [make_snapshot(*rows, step=step) for step in range(0, 60, 10)]


def test_nothing_is_left_out_of_a_page_with_room(steps):
    page = render_page(steps, title="All")
    assert notice_of(page) is None
    assert index_of(page)["steps"] == [0, 10, 20, 30, 40, 50]
    assert index_of(page)["layers"] == [layer.name for layer in encoding_module.plan(PAIR)]


def test_steps_are_in_order_whatever_the_order_of_the_snapshots(steps):
    assert render_page(steps[::-1], title="") == render_page(steps, title="")


def test_a_page_stays_below_its_limit_and_has_the_less_detail_the_lower_it_is(steps):
    full = len(render_page(steps, title="").encode())
    limits = [EMPTY + 4200 + (full - EMPTY) * part // 12 for part in range(13)]
    pages = [render_page(steps, title="", limit=limit) for limit in limits]
    for page, limit in zip(pages, limits, strict=True):
        assert len(page.encode()) <= limit
        assert notice_of(page) is None or f"{limit:,} bytes" in notice_of(page)
    kept = [(len(index_of(page)["steps"]), len(index_of(page)["layers"])) for page in pages]
    assert kept == sorted(kept)
    assert kept[0] < kept[4] < kept[8] < kept[-1]


def test_detail_goes_before_steps_and_steps_go_evenly(steps):
    full = len(render_page(steps, title="").encode())
    kept = []
    for limit in (*range(full, EMPTY + 32_000, -4000), *range(EMPTY + 32_000, EMPTY + 22_000, -500)):
        index = index_of(render_page(steps, title="", limit=limit))
        assert len(index["steps"]) == 6 or index["layers"] == ["texts", "ids", "regimes"]
        kept.append(index["steps"])
    assert all(found in EVENLY for found in kept)
    assert [50] in kept


def test_the_notice_names_what_is_missing_once(steps):
    layers = {}
    for limit in range(EMPTY + 4096, EMPTY + 120_000, 3000):
        page = render_page(steps, title="", limit=limit)
        layers[len(index_of(page)["layers"])] = notice_of(page) or ""
    said = " ".join(layers.values())
    for words in (
        "no gap",
        "no reference entropy",
        "no alternatives",
        "within 16 %",
        "within 4 %",
        "only the 3 likeliest",
    ):
        assert words in said
    assert not any("within 16 %" in text and "within 4 %" in text for text in layers.values())


def test_what_the_rule_has_not_is_not_called_left_out(make_snapshot):
    of_sources = [quantity.name for quantity in quantities_of(PAIR) if quantity.policy != "student"]
    snapshot = make_snapshot(["a"] * 50, without=of_sources)
    snapshot = replace(snapshot, responses=[replace(each, alternatives={}) for each in snapshot.responses])
    page = render_page([snapshot], title="", limit=len(render_page([snapshot], title="").encode()))
    assert "no student" in notice_of(page)
    assert "no teacher" not in notice_of(page)
    assert "no alternatives" not in notice_of(page)


def test_a_page_without_room_for_anything_says_so(steps):
    assert "only 0 of 6 steps" in notice_of(render_page(steps, title="", limit=1000))


@pytest.mark.parametrize("make", [at_random, lambda step, **sizes: like_a_run(step, fixed=5, **sizes)])
def test_a_twentieth_of_two_million_tokens_takes_less_than_a_twentieth_of_20_megabytes(make):
    """200 prompts of 512 tokens at 20 steps: `python -m benchmarks.map_page` makes, and opens, all of it."""
    page = render_page([make(step, prompts=10, tokens=512) for step in range(20)], title="", limit=1_000_000)
    assert len(page.encode()) <= 1_000_000
    index = index_of(page)
    assert index["steps"] == list(range(20))
    assert {"coarse/gap", "coarse/student_probability"} <= set(index["layers"])


def test_a_page_with_one_snapshot_more_encodes_that_one(make_snapshot, monkeypatch):
    calls = []
    rows = encoding_module._Rows
    monkeypatch.setattr(encoding_module, "_Rows", lambda snapshot: calls.append(snapshot.step) or rows(snapshot))
    snapshots = [make_snapshot(["a"], step=step) for step in range(3)]
    for count in (1, 2, 3):
        render_page(snapshots[:count], title="")
    assert calls == [0, 1, 2]


def test_a_page_runs_its_own_script_and_no_other(steps):
    page = render_page(steps, title="")
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)[1].replace("&#39;", "'")
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    (style,) = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    for kind, text in ("script", script), ("style", style):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}';" in policy
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy


def test_a_page_names_no_other_place():
    assert not re.search(r"https?:|[\"'`(]//|\bsrc=|\bhref=|url\(|@import|\bfetch\(", render_page([], title=""))


def test_a_title_is_text():
    page = render_page([], title="</title><script>alert(1)</script>")
    assert "<script>alert" not in page
    assert "&lt;/title&gt;&lt;script&gt;alert(1)" in page


def test_every_regime_has_a_meaning():
    assert [entry["name"] for entry in index_of(render_page([], title=""))["regimes"]] == ["LH", "LL", "HT", "HS"]
    assert [regime.value for regime in regimes_in_words([])] == [0, 1, 2, 3]
    assert regimes_in_words(PAIR)[Regime.HT] == "large gap, likelier under the teacher"
    assert regimes_in_words(["maths"])[Regime.HS] == "large gap, likelier under the source in the reference’s place"


def test_the_name_of_a_source_is_text(make_snapshot):
    name = "</script><script>alert(1)</script>"
    page = render_page([make_snapshot(["a"], sources=[name])], title="")
    assert "<script>alert" not in page
    assert name in index_of(page)["quantities"][f"{name}_entropy"]["label"]


def test_a_page_of_many_sources_with_long_names_stays_below_its_limit(make_snapshot):
    sources = [f"{number} {'<é>' * 40}" for number in range(20)]
    snapshots = [make_snapshot(["a", "b"] * 20, step=step, sources=sources) for step in range(3)]
    full = len(render_page(snapshots, title="").encode())
    for limit in range(full, full - 200_000, -5000):
        page = render_page(snapshots, title="", limit=limit)
        if index_of(page)["steps"]:
            assert len(page.encode()) <= limit


def test_snapshots_with_other_sources_share_a_page(make_snapshot):
    page = render_page([make_snapshot(["a"], step=n, sources=[name]) for n, name in enumerate(("b", "a"))], title="")
    assert {"coarse/b_entropy", "coarse/a_entropy"} <= set(index_of(page)["layers"])
    assert notice_of(page) is None
