"""Divergence maps: what was known of each response token, kept on disk and shown to people."""

from dopd_lightning.maps.page import render_page
from dopd_lightning.maps.pieces import token_pieces
from dopd_lightning.maps.snapshot import QUANTITIES, Alternatives, MappedResponse, Snapshot

__all__ = ["QUANTITIES", "Alternatives", "MappedResponse", "Snapshot", "render_page", "token_pieces"]
