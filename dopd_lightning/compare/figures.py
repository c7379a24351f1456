"""Curves as Vega-Lite charts, for the page and for print."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import altair as alt
import vl_convert

from dopd_lightning.compare.comparison import Comparison
from dopd_lightning.compare.curves import Curve

LIGHT = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a5195", "#666666")
DARK = ("#4ba3e3", "#ff8c42", "#2fc99b", "#e7a0c6", "#f2c14e", "#8fd3ff", "#b79ae6", "#b5b5b5")
"""Colours of groups, which people with any colour vision tell apart; groups beyond them repeat them in dashes."""

DASHES = ((1, 0), (6, 3), (2, 2), (8, 3, 2, 3))
HIDDEN = "hidden"
"""The parameter of a chart that lists the labels of groups not to show."""

FIELDS = ("label", "step", "mean", "error", "seeds")
"""Fields of a point: its group's label, the optimizer step, mean and standard error over seeds, number of seeds."""

_POINTS = "points"
_FEW_POINTS = 16
_WIDTH, _HEIGHT = 300, 190
_PRINT_DOTS = 200  # 300 an inch in a column, which is narrower than the picture
VEGA_LITE = ".".join(alt.SCHEMA_VERSION.split(".")[:2])
"""Version of Vega-Lite that vl-convert renders these charts with."""
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
        steps: the first and the last of any curve, between which all are drawn.
        file: a name for it that any file system takes, without an ending; no two figures have the same.
    """

    curve: Curve
    labels: Sequence[str]
    steps: tuple[float, float]
    file: str

    def specification(self) -> dict[str, Any]:
        """Return a Vega-Lite chart, as wide as its place, without legend, in the colours of ``range.category``.

        Its data is a set called ``points``, with the fields `FIELDS`, which are left to be put in. Its parameter
        ``hidden`` lists the labels of groups that are not shown.
        """
        shown = f"indexof({HIDDEN}, datum.label) < 0"
        layers = [layer.transform_filter(shown) for layer in (*self._layers(None), self._hover())]
        chart = alt.layer(*layers).add_params(alt.param(name=HIDDEN, value=[]))
        return chart.properties(width="container", height=_HEIGHT).to_dict()

    def points(self) -> list[tuple[int, float, float | None, float | None, int]]:
        """`FIELDS` of each point, but for the group its number; what is not finite is None and leaves a gap."""
        return [
            (number, point.step, _short(point.value.mean), _short(point.value.error), point.value.n)
            for number, points in enumerate(self.curve.points)
            for point in points
        ]

    def save(self, path: Path, *, dots: int = _PRINT_DOTS) -> None:
        """Write a PNG with so many dots an inch: for print, by default, where it is set into a column of a paper."""
        legend = alt.Legend(
            title=None, orient="bottom", direction="vertical", symbolType="stroke", symbolOpacity=1, offset=8
        )
        chart = alt.layer(*self._layers(legend)).properties(title=self.curve.metric, width=_WIDTH, height=_HEIGHT)
        rows = [dict(zip(FIELDS, (self.labels[number], *rest), strict=True)) for number, *rest in self.points()]
        specification = chart.to_dict() | {"datasets": {_POINTS: rows}}
        path.write_bytes(vl_convert.vegalite_to_png(specification, config=_PRINT, ppi=dots, vl_version=VEGA_LITE))

    def _base(self, legend: alt.Legend | None) -> alt.Chart:
        steps = alt.Scale(domain=self.steps, nice=False)
        return alt.Chart(alt.NamedData(_POINTS)).encode(
            x=alt.X("step:Q", title="step", scale=steps, axis=alt.Axis(tickMinStep=1, tickCount=6, grid=False)),
            y=alt.Y("mean:Q", title=None, scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=5)),
            color=alt.Color("label:N", scale=alt.Scale(domain=list(self.labels)), legend=legend),
        )

    def _layers(self, legend: alt.Legend | None) -> list[alt.Chart]:
        """Band and line; dots too, where each stands for something that a person can count."""
        base = self._base(legend)
        band = (
            base.transform_filter("isValid(datum.mean) && isValid(datum.error)")
            .transform_calculate(low="datum.mean - datum.error", high="datum.mean + datum.error")
            .mark_area(opacity=0.16)
            .encode(y="low:Q", y2="high:Q")
        )
        dashes = [DASHES[number // len(LIGHT) % len(DASHES)] for number in range(len(self.labels))]
        dash = alt.StrokeDash("label:N", scale=alt.Scale(domain=list(self.labels), range=dashes), legend=legend)
        layers = [band, base.mark_line(strokeWidth=2).encode(strokeDash=dash)]
        if max(map(len, self.curve.points)) <= _FEW_POINTS:
            layers.append(base.mark_point(filled=True, size=32, opacity=1))
        return layers

    def _hover(self) -> alt.Chart:
        """The dot under the pointer, and what it stands for.

        Not the nearest one: there Vega-Lite 6.4 forgets the label in the tooltip.
        """
        pointed = alt.selection_point(on="pointerover", clear="pointerout", fields=["label", "step"], empty=False)
        tooltip = [
            alt.Tooltip("label:N", title="group"),
            alt.Tooltip("step:Q"),
            alt.Tooltip("mean:Q", format=".4~g"),
            alt.Tooltip("error:Q", format=".2~g", title="standard error"),
            alt.Tooltip("seeds:Q"),
        ]
        opacity = alt.condition(pointed, alt.value(1), alt.value(0))
        dots: alt.Chart = self._base(None).mark_point(filled=True, size=150).encode(opacity=opacity, tooltip=tooltip)
        return dots.add_params(pointed)


def _short(value: float | None) -> float | None:
    """Six digits are more than can be seen."""
    return float(f"{value:.6g}") if value is not None and math.isfinite(value) else None


def figures_of(comparison: Comparison) -> list[Figure]:
    """One for each curve."""
    labels = [group.label for group in comparison.groups]
    steps = [point.step for curve in comparison.curves for points in curve.points for point in points]
    figures: list[Figure] = []
    names: set[str] = set()
    for number, curve in enumerate(comparison.curves):
        name = re.sub(r"[^A-Za-z0-9.]+", "-", curve.metric).strip("-.")[:80]
        name = name if name and name.lower() not in names else f"{name}-{number}"
        names.add(name.lower())
        figures.append(Figure(curve, labels, (min(steps), max(steps)), name))
    return figures
