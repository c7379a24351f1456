"""Runs of the pipeline in a folder of the test's own, and what they leave there."""

from __future__ import annotations

import json

import pytest

from dopd_lightning.hints import HintPipeline
from tests.hints.scripted import Scripted, rows


@pytest.fixture
def run(tmp_path):
    def made(writer=None, examples=None, **settings):
        if not isinstance(writer, Scripted | None):
            writer = Scripted(writer)
        settings = {"language": "any"} | settings
        return HintPipeline(writer=writer, **settings).run(rows() if examples is None else examples, tmp_path)

    return made


@pytest.fixture
def lines(tmp_path):
    def read(name):
        return [json.loads(line) for line in (tmp_path / name).read_text(encoding="utf-8").splitlines()]

    return read


@pytest.fixture
def whole(lines):
    """Check that each row is in one file, once, in order, with all that it had; return the places in either file."""

    def check(examples):
        kept, dropped = lines("hints.jsonl"), lines("dropped.jsonl")
        places = [examples.index({k: v for k, v in row.items() if k != "privileged"}) for row in kept]
        others = [row["row"] for row in dropped]
        assert sorted(places + others) == [*range(len(examples))]
        assert places == sorted(places)
        assert others == sorted(others)
        assert [row["example"] for row in dropped] == [examples[place] for place in others]
        assert all(row["privileged"] for row in kept)
        return places, others

    return check
