"""Snapshots of a few tokens, with numbers by chance or by hand; and a browser to look at their pages."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest
from playwright.sync_api import Browser, Page

from dopd_lightning.maps import Alternatives, MappedResponse, Snapshot, quantities_of, render_page
from tests.maps.looking import WORDS

PAIR = ("teacher", "reference")
QUANTITIES = [quantity.name for quantity in quantities_of(PAIR)]


class MakeSnapshot(Protocol):
    def __call__(
        self,
        *responses: Sequence[str | bytes],
        step: int = 0,
        without: Collection[str] = (),
        sources: Sequence[str] = PAIR,
        alternatives: int = 5,
        fixed: int = 1,
        **fields: Any,
    ) -> Snapshot: ...


@pytest.fixture(scope="module")
def make_snapshot() -> MakeSnapshot:
    """Responses by their tokens; each token has an id by its bytes, the same in all snapshots of a module's tests."""
    ids: dict[bytes, int] = {}

    def make(*responses, step=0, without=(), sources=PAIR, alternatives=5, fixed=1, **fields):
        rng = np.random.default_rng(step)
        rows = [
            [piece.encode("utf-8", "surrogatepass") if isinstance(piece, str) else piece for piece in row]
            for row in responses
        ]
        for row in rows:
            for piece in row:
                ids.setdefault(piece, 3 + 211 * len(ids))
        pool = np.array([ids[piece] for row in rows for piece in row] or [0], dtype=np.int32)
        policies = ("student", *sources)
        made = []
        for number, row in enumerate(rows):
            tokens = len(row)
            likely = -np.sort(-rng.dirichlet(np.ones(alternatives), (len(policies), tokens)), axis=-1)
            given = {
                "prompt": f"What is {number} + {step}?",
                "privileged": f"Count {step} on from {number}.",
                "fixed": number < fixed,
                "number": number if number < fixed else number - fixed,
                "token_ids": np.array([ids[piece] for piece in row], dtype=np.int32),
                "regimes": rng.integers(0, 4, tokens, dtype=np.int8),
                "quantities": {
                    name: (rng.random(tokens) ** 2 if "probability" in name else rng.exponential(1, tokens)).astype(
                        np.float32
                    )
                    for name in (quantity.name for quantity in quantities_of(sources))
                    if name not in without
                },
                "alternatives": {
                    policy: Alternatives(rng.choice(pool, (tokens, alternatives)), likely[index].astype(np.float32))
                    for index, policy in enumerate(policies)
                },
            }
            made.append(MappedResponse(**(given | fields)))
        return Snapshot(step, made, {ids[piece]: piece for row in rows for piece in row}, sources)

    return make


PIECES = {0: b"1", 1: b" +", 2: b"\xf0\x9f", 3: b"</script>", 4: b"\n"}


@pytest.fixture
def plain_response():
    """A response of the tokens 0, 1, 2, … whose quantities are 0.5, 1.5, 2.5, … times their place."""

    def make(tokens=3, fixed=True, number=0, regimes=None, names=QUANTITIES, **fields):
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
def plain_snapshot(plain_response):
    def make(*responses, step=0, pieces=PIECES, **fields):
        return Snapshot(step, responses or [plain_response()], pieces, **fields)

    return make


class Opened(Protocol):
    def __call__(self, snapshots: Sequence[Snapshot], address: str = "", **options: Any) -> Page: ...


@pytest.fixture
def opened(browser: Browser, tmp_path: Path) -> Iterator[Opened]:
    """Open a page from a file, as a person would; afterwards it has asked for nothing else and found no error."""
    contexts, requests, complaints = [], [], []
    path = tmp_path / "map.html"

    def open_page(snapshots, address="", *, title="Map", limit=20_000_000, **options):
        path.write_text(render_page(snapshots, title=title, limit=limit), encoding="utf-8")
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        context.on("request", lambda request: requests.append(request.url.split("#")[0]))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: (complaints.append(dialog.message), dialog.dismiss()))
        page.goto(f"{path.as_uri()}{address}")
        page.wait_for_selector("html[data-ready]")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert set(requests) <= {path.as_uri()}
    assert complaints == []


@pytest.fixture(scope="module")
def steps(make_snapshot):
    """Two prompts that come back at each of three steps, and two others at each."""
    rows = [[*WORDS, f"row {row}"] for row in range(4)]
    return [make_snapshot(*rows, step=step, fixed=2) for step in (0, 10, 200)]
