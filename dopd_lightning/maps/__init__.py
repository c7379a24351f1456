"""Divergence maps: what was known of each response token, kept on disk and shown to people."""

from dopd_lightning.maps.averages import averages
from dopd_lightning.maps.collect import ids_of, responses_of, sources_of
from dopd_lightning.maps.heatmap import heatmap
from dopd_lightning.maps.page import render_page
from dopd_lightning.maps.pieces import token_pieces
from dopd_lightning.maps.quantities import Quantity, quantities_of
from dopd_lightning.maps.rows import columns, rows
from dopd_lightning.maps.snapshot import Alternatives, MappedResponse, Snapshot, all_sources
from dopd_lightning.maps.visible import readable, shown, shown_alone

__all__ = [
    "Alternatives",
    "MappedResponse",
    "Quantity",
    "Snapshot",
    "all_sources",
    "averages",
    "columns",
    "heatmap",
    "ids_of",
    "quantities_of",
    "readable",
    "render_page",
    "responses_of",
    "rows",
    "shown",
    "shown_alone",
    "sources_of",
    "token_pieces",
]
