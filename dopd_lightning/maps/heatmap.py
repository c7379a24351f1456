"""Tokens × steps for the prompts that come back at every step, as a picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dopd_lightning.maps.snapshot import QUANTITIES, Snapshot

PREFERRED = ("gap", "teacher_divergence", "reference_divergence", "student_entropy")
"""What is drawn: the first of these that is known."""

WIDTH = 10.0
"""Of the picture, in inches of 100 pixels."""

PROMPTS = 8
"""The most prompts that are drawn, a panel each."""


def heatmap(snapshots: Sequence[Snapshot]) -> NDArray[np.uint8] | None:
    """Rows are steps, columns are the positions of the response's tokens; white is behind its end.

    Returns:
        ``(height, width, 3)``, or None if there is no fixed prompt with a token.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # half a second, for loggers that take pictures
    from matplotlib.colors import PowerNorm
    from matplotlib.figure import Figure

    by_prompt: dict[int, dict[int, NDArray[np.float32]]] = {}
    drawn = next(
        (name for name in PREFERRED for s in snapshots for r in s.responses if r.fixed and name in r.quantities), None
    )
    for snapshot in snapshots:
        for response in snapshot.responses:
            if drawn is not None and response.fixed and response.number < PROMPTS and len(response.token_ids):
                by_prompt.setdefault(response.number, {})[snapshot.step] = response.quantities[drawn]
    if drawn is None or not by_prompt:
        return None
    steps = [snapshot.step for snapshot in snapshots]
    width = max(len(values) for rows in by_prompt.values() for values in rows.values())
    largest = max(float(np.quantile(v, 0.98)) for rows in by_prompt.values() for v in rows.values()) or 1.0

    # Laid out by hand, in inches: matplotlib's own layout takes longer than the drawing.
    panel, between, above, below, sides = 0.14 * len(steps) + 0.2, 0.35, 0.35, 0.55, 0.7
    height = above + below + len(by_prompt) * panel + (len(by_prompt) - 1) * between
    figure = Figure(figsize=(WIDTH, height), dpi=100)
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots(len(by_prompt), 1, sharex=True, squeeze=False)[:, 0]
    figure.subplots_adjust(
        left=sides / WIDTH, right=0.86, bottom=below / height, top=1 - above / height, hspace=between / panel
    )
    image = None
    for axis, (number, rows) in zip(axes, sorted(by_prompt.items()), strict=True):
        grid = np.full((len(steps), width), np.nan)
        for row, step in enumerate(steps):
            values = rows.get(step, ())
            grid[row, : len(values)] = values
        scale = PowerNorm(0.5, 0, largest)  # most values are small, and differ
        image = axis.imshow(grid, aspect="auto", interpolation="nearest", cmap="viridis", norm=scale)
        shown = np.unique(np.linspace(0, len(steps) - 1, min(len(steps), 6)).round().astype(int))
        axis.set_yticks(shown, [str(steps[row]) for row in shown])
        axis.set_ylabel("step")
        axis.set_title(f"prompt {number + 1}", loc="left", fontsize=9)
    axes[-1].set_xlabel("token of the response")
    assert image is not None
    scale_height = max(height - above - below, 1.0)
    beside = figure.add_axes((0.88, below / height, 0.015, min(scale_height / height, 1 - below / height)))
    figure.colorbar(image, cax=beside, label=QUANTITIES[drawn].removesuffix(" (nats)"), extend="max")
    canvas.draw()  # type: ignore[no-untyped-call]
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()  # type: ignore[no-untyped-call]
