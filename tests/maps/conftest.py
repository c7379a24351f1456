"""Snapshots made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from dopd_lightning.maps import QUANTITIES, Alternatives, MappedResponse, Snapshot

PIECES = {0: b"1", 1: b" +", 2: b"\xf0\x9f", 3: b"</script>", 4: b"\n"}


@pytest.fixture
def make_response():
    """A response of the tokens 0, 1, 2, … whose quantities are 0.5, 1.5, 2.5, … times their place in `QUANTITIES`."""

    def make(tokens=3, fixed=True, number=0, regimes=None, names=tuple(QUANTITIES), **fields):
        values = np.arange(tokens, dtype=np.float32) + 0.5
        ids = np.arange(tokens, dtype=np.int32)
        likeliest = Alternatives(
            np.stack([ids, (ids + 1) % 5], axis=1), np.tile(np.array([0.75, 0.25], np.float32), (tokens, 1))
        )
        given = {
            "prompt": "What is 1 + 2?",
            "privileged": "add",
            "fixed": fixed,
            "number": number,
            "token_ids": ids,
            "regimes": np.array([0, 2, 3, 1, 0][:tokens] if regimes is None else regimes, np.int8),
            "quantities": {name: values * place for place, name in enumerate(QUANTITIES, start=1) if name in names},
            "alternatives": {"student": likeliest, "teacher": likeliest},
        }
        return MappedResponse(**given | fields)

    return make


@pytest.fixture
def make_snapshot(make_response):
    def make(*responses, step=0, pieces=PIECES):
        return Snapshot(step, responses or [make_response()], pieces)

    return make
