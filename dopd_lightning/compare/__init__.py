"""Runs side by side: in what they differ, how they ended, how their curves went; from their folders alone."""

from dopd_lightning.compare.comparison import Comparison
from dopd_lightning.compare.estimate import Estimate
from dopd_lightning.compare.text import print_tables, to_csv, to_markdown

__all__ = ["Comparison", "Estimate", "print_tables", "to_csv", "to_markdown"]
