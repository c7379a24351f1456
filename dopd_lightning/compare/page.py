"""The comparison as one HTML page that needs nothing else, nor a network."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from urllib.parse import quote

import vl_convert
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from dopd_lightning.compare.comparison import Comparison
from dopd_lightning.compare.curves import MOST_POINTS
from dopd_lightning.compare.figures import DARK, DASHES, FIELDS, LIGHT, VEGA_LITE, Figure
from dopd_lightning.compare.metrics import family
from dopd_lightning.compare.tables import tables_of
from dopd_lightning.compare.text import MEANING

MAP = "divergence_map.html"
"""File name of a divergence map in a run's folder."""


def render_page(comparison: Comparison, figures: Sequence[Figure], folder: Path) -> str:
    """Curves to look into, the tables, and links to the runs' divergence maps.

    Args:
        comparison: what to show.
        figures: its curves.
        folder: where the page will lie; links are relative to it.
    """
    environment = Environment(
        loader=PackageLoader("dopd_lightning.compare", "assets"), autoescape=True, undefined=StrictUndefined
    )
    # Sorted keys would put the fields of tooltips into another order; NaN is no JSON that browsers read.
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False}
    css, js = (_asset(environment, name) for name in ("page.css", "page.js"))
    scripts, css = (
        [vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", VEGA_LITE), js],
        f"{_colours()}\n{css}",
    )
    numbered = [(figure, number) for number, figure in enumerate(figures)]
    return environment.get_template("page.html.jinja").render(
        labels=[group.label for group in comparison.groups],
        counts=_counts(comparison),
        tables=tables_of(comparison),
        meaning=f"{MEANING[0].upper()}{MEANING[1:]}.",
        families=[
            (name, list(members)) for name, members in groupby(numbered, key=lambda each: family(each[0].curve.metric))
        ],
        stretched=any(figure.curve.stretch > 1 for figure in figures),
        most_points=MOST_POINTS,
        panels=[{"chart": figure.specification(), "points": figure.points()} for figure in figures],
        fields=FIELDS,
        runs=_runs(comparison, folder),
        notes=comparison.notes,
        colours=len(LIGHT),
        dashes=DASHES,
        css=Markup(css),
        style_hash=Markup(_hash(css)),
        scripts=[Markup(script) for script in scripts],
        script_hashes=Markup(" ".join(map(_hash, scripts))),
    )


def _asset(environment: Environment, name: str) -> str:
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]


def _colours() -> str:
    def variables(colours: Sequence[str]) -> str:
        return " ".join(f"--group-{number}: {colour};" for number, colour in enumerate(colours))

    classes = "\n".join(f".g{number} {{ stroke: var(--group-{number}); }}" for number in range(len(LIGHT)))
    dark = f"@media (prefers-color-scheme: dark) {{ :root {{ {variables(DARK)} }} }}"
    return f":root {{ {variables(LIGHT)} }}\n{dark}\n{classes}"


def _hash(text: str) -> str:
    """Return the hash by which the Content-Security-Policy admits the page's own script and style."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _counts(comparison: Comparison) -> str:
    replicates = [replicate for group in comparison.groups for replicate in group.replicates.values()]
    unfinished = sum(not replicate.finished for replicate in replicates)
    counts = f"{_plural(len(replicates), 'run')} in {_plural(len(comparison.groups), 'group')}"
    return f"{counts}, {unfinished} unfinished" if unfinished else counts


def _plural(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


def _runs(comparison: Comparison, folder: Path) -> list[dict[str, object]]:
    """A row for each folder, with the link to its map if there is one."""
    rows: list[dict[str, object]] = []
    for group in comparison.groups:
        for seed, replicate in group.replicates.items():
            for part in replicate.parts:
                relative = os.path.relpath(part.path, folder)
                link = quote(Path(relative, MAP).as_posix()) if (part.path / MAP).is_file() else None
                finished = part.summary is not None
                rows.append({"group": group.label, "seed": seed, "folder": relative, "finished": finished, "map": link})
    return rows
