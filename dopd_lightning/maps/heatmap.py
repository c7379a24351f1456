"""Tokens × steps for the prompts that come back at every step, as a picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dopd_lightning.maps.quantities import Quantity, quantities_of
from dopd_lightning.maps.snapshot import Snapshot, all_sources

WIDTH = 10.0
"""Size of the picture, in inches of 100 pixels."""

PROMPTS = 8
"""The most prompts that are drawn, a panel each."""


def heatmap(snapshots: Sequence[Snapshot]) -> NDArray[np.uint8] | None:
    """Rows are steps, columns are the positions of the response's tokens; white is behind its end.

    Returns:
        ``(height, width, 3)``, or None if there is no fixed prompt with a token.

    Example:
        >>> heatmap([]) is None
        True
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # half a second, for loggers that take pictures
    from matplotlib.colors import PowerNorm
    from matplotlib.figure import Figure

    by_prompt: dict[int, dict[int, NDArray[np.float32]]] = {}
    drawn = _drawn(snapshots)
    for snapshot in snapshots:
        for response in snapshot.responses:
            if drawn is not None and response.fixed and response.number < PROMPTS and len(response.token_ids):
                by_prompt.setdefault(response.number, {})[snapshot.step] = response.quantities[drawn.name]
    if drawn is None or not by_prompt:
        return None
    steps = [snapshot.step for snapshot in snapshots]
    width = max(len(values) for rows in by_prompt.values() for values in rows.values())
    largest = max(float(np.quantile(v, 0.98)) for rows in by_prompt.values() for v in rows.values()) or 1.0

    # One pair of axes for all prompts, laid out by hand: axes of their own would take twice as long.
    count, rows_each = len(by_prompt), len(steps) + 1
    grid = np.full((count * rows_each - 1, width), np.nan)
    for place, (_, rows) in enumerate(sorted(by_prompt.items())):
        for row, step in enumerate(steps):
            values = rows.get(step, ())
            grid[place * rows_each + row, : len(values)] = values
    above, below, left = 0.15, 0.5, 1.3
    height = above + below + max(0.16 * len(grid), 0.7)
    figure = Figure(figsize=(WIDTH, height), dpi=100)
    canvas = FigureCanvasAgg(figure)
    inside = (height - above - below) / height
    axis = figure.add_axes((left / WIDTH, below / height, 0.73, inside))
    scale = PowerNorm(0.5, 0, largest)  # most values are small, and differ
    image = axis.imshow(grid, aspect="auto", interpolation="nearest", cmap="viridis", norm=scale)
    firsts = [place * rows_each for place in range(count)]
    ticks = {
        row: f"prompt {number + 1}, step {steps[0]}" for row, number in zip(firsts, sorted(by_prompt), strict=True)
    }
    ticks |= {row + len(steps) - 1: f"step {steps[-1]}" for row in firsts if len(steps) > 1}
    axis.set_yticks(list(ticks), list(ticks.values()))
    axis.set_xlabel("token of the response")
    axis.spines[:].set_visible(False)
    beside = figure.add_axes((0.88, below / height, 0.015, inside))
    figure.colorbar(image, cax=beside, label=drawn.meaning.removesuffix(" (nats)"), extend="max")
    beside.yaxis.label.set_parse_math(False)  # the name of a source is no formula
    canvas.draw()  # type: ignore[no-untyped-call]
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()  # type: ignore[no-untyped-call]


def _drawn(snapshots: Sequence[Snapshot]) -> Quantity | None:
    """The gap if it is known, else the first divergence that is, else the student's entropy."""
    known = {name for s in snapshots for response in s.responses if response.fixed for name in response.quantities}
    quantities = quantities_of(all_sources(snapshots))
    preferred = [each for kind in ("gap", "divergence", "entropy") for each in quantities if each.kind == kind]
    return next((each for each in preferred if each.name in known), None)
