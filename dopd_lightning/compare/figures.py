"""Curves as Vega-Lite charts, for the page and for print."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import altair as alt

from dopd_lightning.compare.comparison import Comparison
from dopd_lightning.compare.curves import Curve

LIGHT = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a5195", "#666666")
DARK = ("#4ba3e3", "#ff8c42", "#2fc99b", "#e7a0c6", "#f2c14e", "#8fd3ff", "#b79ae6", "#b5b5b5")
"""Colours of groups, which people with any colour vision tell apart; groups beyond them repeat them in dashes."""

DASHES = ((1, 0), (6, 3), (2, 2), (8, 3, 2, 3))
HIDDEN = "hidden"
"""The parameter of a chart that lists the labels of groups not to show."""

_FEW_POINTS = 16
_PRINT = {
    "background": "white",
    "font": "Liberation Sans, Helvetica, Arial, DejaVu Sans, sans-serif",
    "range": {"category": LIGHT},
    "view": {"stroke": None},
    "axis": {"labelFontSize": 11, "titleFontSize": 12, "titleFontWeight": "normal", "gridColor": "#e6e6e6"},
    "legend": {
        "labelFontSize": 11,
        "labelLimit": 420,
        "symbolSize": 300,
        "symbolStrokeWidth": 2,
        "rowPadding": 4,
        "offset": 8,
    },
    "title": {"fontSize": 13, "anchor": "start", "fontWeight": "normal"},
}


@dataclass(frozen=True)
class Figure:
    """A metric's chart.

    Attributes:
        curve: what it shows.
        labels: of all groups.
        file: a name for it that any file system takes, without an ending; no two figures have the same.
    """

    curve: Curve
    labels: Sequence[str]
    file: str

    def specification(self) -> dict[str, Any]:
        """In Vega-Lite, as wide as its place, without legend, colours from ``range.category`` of the configuration."""
        return self._chart(width="container", height=190, legend=None).to_dict()

    def save(self, path: Path) -> None:
        """Write a PNG for print: a single column wide, 300 dots an inch."""
        legend = alt.Legend(title=None, orient="bottom", direction="vertical", symbolType="stroke", symbolOpacity=1)
        chart = self._chart(width=300, height=190, legend=legend).properties(title=self.curve.metric)
        chart.configure(**_PRINT).save(path, ppi=300)

    def _chart(self, *, width: int | str, height: int, legend: alt.Legend | None) -> alt.LayerChart:
        rows = list(self._rows())
        hidden = alt.param(name=HIDDEN, value=[])
        near = alt.selection_point(
            name="near", nearest=True, on="pointerover", clear="pointerout", fields=["group", "step"], empty=False
        )
        dashes = [DASHES[number // len(LIGHT) % len(DASHES)] for number in range(len(self.labels))]
        base = (
            alt.Chart(alt.InlineData(values=rows), width=width, height=height)
            .transform_filter(f"indexof({HIDDEN}, datum.group) < 0")
            .encode(
                x=alt.X("step:Q", title="step", axis=alt.Axis(tickMinStep=1, tickCount=6, grid=False)),
                y=alt.Y("mean:Q", title=None, scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=5)),
                color=alt.Color("group:N", scale=alt.Scale(domain=list(self.labels)), legend=legend),
            )
        )
        dash = alt.StrokeDash("group:N", scale=alt.Scale(domain=list(self.labels), range=dashes), legend=legend)
        band = base.mark_area(opacity=0.16).encode(y="low:Q", y2="high:Q")
        line = base.mark_line(strokeWidth=2, interpolate="linear").encode(strokeDash=dash)
        few = len({row["step"] for row in rows}) <= _FEW_POINTS
        dots = (
            base.mark_point(filled=True)
            .encode(
                opacity=alt.value(1) if few else alt.condition(near, alt.value(1), alt.value(0)),
                size=alt.condition(near, alt.value(110), alt.value(32)),
                tooltip=[alt.Tooltip(f"{name}:N") for name in ("group", "step", "value", "seeds")],
            )
            .add_params(near)
        )
        return alt.layer(band, line, dots).add_params(hidden)

    def _rows(self) -> Iterator[dict[str, Any]]:
        """A value that is not finite leaves a gap."""
        for label, points in zip(self.labels, self.curve.points, strict=True):
            for point in points:
                value, error = point.value, point.value.error or 0
                finite = math.isfinite(value.mean) and math.isfinite(error)
                yield {
                    "group": label,
                    "step": point.step,
                    "mean": value.mean if finite else None,
                    "low": value.mean - error if finite else None,
                    "high": value.mean + error if finite else None,
                    "value": str(value),
                    "seeds": value.n,
                }


def figures_of(comparison: Comparison) -> list[Figure]:
    """One for each curve."""
    labels = [group.label for group in comparison.groups]
    figures: list[Figure] = []
    names: set[str] = set()
    for number, curve in enumerate(comparison.curves):
        name = re.sub(r"[^A-Za-z0-9.]+", "-", curve.metric).strip("-.")[:80]
        name = name if name and name.lower() not in names else f"{name}-{number}"
        names.add(name.lower())
        figures.append(Figure(curve, labels, name))
    return figures
