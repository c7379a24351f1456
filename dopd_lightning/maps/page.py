"""The divergence map as a page: one file that opens without a network and holds all that it shows."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined, Template

from dopd_lightning.fusion import Regime
from dopd_lightning.maps.codes import DIGITS, LARGEST, LAST, SMALL
from dopd_lightning.maps.encoding import ABSENT, FEW, NEEDED, SHARES, Encoded, Layer, encoded, plan
from dopd_lightning.maps.fitting import Contents, fit, left_out
from dopd_lightning.maps.quantities import PAIR, as_colours, in_record
from dopd_lightning.maps.snapshot import Snapshot, all_sources
from dopd_lightning.maps.visible import SPACE

SCRIPTS = ("decode.js", "colours.js", "numbers.js", "token_panel.js", "legend.js", "tokens.js", "prompts.js", "page.js")
STYLES = ("page.css", "map.css", "token_panel.css", "media.css")
"""Scripts of the page, each after those it depends on."""

SPARE, SCALE = 512, 24
"""Bytes that are kept for a longer notice, and for each number in the index."""


def render_page(snapshots: Sequence[Snapshot], *, title: str, limit: int = 20_000_000) -> str:
    """A page with the snapshots in order of their steps.

    It may be called again after each new snapshot: those that it has seen, and that still live, are not encoded again.

    Args:
        snapshots: any number, also none.
        title: the page's.
        limit: bytes that the page may have in UTF-8. For it detail is given up, in the order of `encoding.plan` from
            the end, then steps, evenly; the page says what.

    Example:
        >>> from dopd_lightning.maps import Snapshot
        >>> render_page([Snapshot(0, [], {})], title="Before training").splitlines()[0]
        '<!doctype html>'
    """
    ordered = sorted((encoded(snapshot) for snapshot in snapshots), key=lambda snapshot: snapshot.step)
    pieces = {token: piece for snapshot in snapshots for token, piece in snapshot.pieces.items()}
    sources = all_sources(snapshots)
    layers = plan(sources)
    # The largest page without a step: it names all layers, and has most to say of what is left out.
    bare = Contents([], layers, "", [*left_out(ordered, layers, 0, len(NEEDED))])
    taken = len(_render(title, sources, bare, limit).encode()) + SPARE + SCALE * len(in_record(sources))
    return _render(title, sources, fit(ordered, pieces, layers, limit - taken), limit)


def regimes_in_words(sources: Sequence[str]) -> Mapping[Regime, str]:
    """Meanings of the regimes; which sources a rule routes between, if not the paper's, a map does not know."""
    named = set(PAIR) <= set(sources)
    teacher, reference = PAIR if named else (f"source in the {source}’s place" for source in PAIR)
    return {
        Regime.LH: "small gap, likely under both sources",
        Regime.LL: "small gap, unlikely under both sources",
        Regime.HT: f"large gap, likelier under the {teacher}",
        Regime.HS: f"large gap, likelier under the {reference}",
    }


def _render(title: str, sources: Sequence[str], contents: Contents, limit: int) -> str:
    script, style = _joined("js", SCRIPTS), _joined("css", STYLES)
    notice = f"To stay below {limit:,} bytes this page has {'; '.join(contents.left_out)}." if contents.left_out else ""
    return _template().render(
        title=title,
        policy=f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
        "base-uri 'none'; form-action 'none'",
        script=script,
        style=style,
        notice=notice,
        index=_index(sources, contents.snapshots, contents.layers),
        vocabulary=contents.vocabulary,
        blocks=[" ".join(snapshot.written(contents.layers)) for snapshot in contents.snapshots],
    )


def _index(sources: Sequence[str], snapshots: Sequence[Encoded], layers: Sequence[Layer]) -> dict[str, Any]:
    """Return the index that the browser reads before it decodes a step."""
    scales: dict[str, float] = {}
    for snapshot in snapshots:
        for name, value in snapshot.scales.items():
            scales[name] = max(value, scales.get(name, 0.0))
    return {
        "steps": [snapshot.step for snapshot in snapshots],
        "layers": [layer.name for layer in layers],
        "absent": ABSENT,
        "quantities": {each.name: asdict(each) | {"scale": scales.get(each.name, 0)} for each in in_record(sources)},
        "record": [quantity.name for quantity in in_record(sources)],
        "colours": [quantity.name for quantity in as_colours(sources)],
        "regimes": [{"name": regime.name, "meaning": words} for regime, words in regimes_in_words(sources).items()],
        "numbers": {"small": SMALL, "largest": LARGEST, "last": LAST, "digits": DIGITS},
        "alternatives": {"few": FEW, "shares": SHARES},
        "space": SPACE,
    }


@cache
def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_asset("page.html.j2"))


@cache
def _joined(folder: str, names: Sequence[str]) -> str:
    return "\n".join(_asset(f"{folder}/{name}") for name in names)


def _asset(name: str) -> str:
    return (files("dopd_lightning.maps") / "assets" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """Return the hash by which a Content-Security-Policy names an inline script or style."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
