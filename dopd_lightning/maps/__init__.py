"""Divergence maps: what was known of each response token, kept on disk and shown to people."""

from dopd_lightning.maps.averages import averages
from dopd_lightning.maps.collect import ids_of, responses_of
from dopd_lightning.maps.heatmap import heatmap
from dopd_lightning.maps.page import render_page
from dopd_lightning.maps.pieces import token_pieces
from dopd_lightning.maps.rows import COLUMNS, rows
from dopd_lightning.maps.snapshot import QUANTITIES, Alternatives, MappedResponse, Snapshot
from dopd_lightning.maps.visible import readable, shown, shown_alone

__all__ = [
    "COLUMNS",
    "QUANTITIES",
    "Alternatives",
    "MappedResponse",
    "Snapshot",
    "averages",
    "heatmap",
    "ids_of",
    "readable",
    "render_page",
    "responses_of",
    "rows",
    "shown",
    "shown_alone",
    "token_pieces",
]
