"""Everything that a comparison leaves behind, in a folder."""

from __future__ import annotations

from pathlib import Path

from dopd_lightning.compare.comparison import Comparison
from dopd_lightning.compare.figures import figures_of
from dopd_lightning.compare.page import render_page
from dopd_lightning.compare.text import to_csv, to_markdown
from dopd_lightning.io.files import write_whole, written_whole


def write_report(comparison: Comparison, folder: Path) -> None:
    """Write ``compare.md``, ``compare.csv``, ``compare.html`` and ``figures/*.png``; the folder has to be there."""
    figures = figures_of(comparison)
    for name, text in {
        "compare.md": to_markdown(comparison),
        "compare.csv": to_csv(comparison),
        "compare.html": render_page(comparison, figures, folder),
    }.items():
        write_whole(folder / name, text, "the comparison")
    (folder / "figures").mkdir(exist_ok=True)
    for figure in figures:
        with written_whole(folder / "figures" / f"{figure.file}.png", "a figure of the comparison") as part:
            figure.save(part)
