"""Hints: privileged text that a chat model writes, and that is checked before it is used."""

from dopd_lightning.hints.kinds import KINDS, Kind
from dopd_lightning.hints.local import LocalWriter
from dopd_lightning.hints.outcome import Report
from dopd_lightning.hints.pipeline import HintPipeline
from dopd_lightning.hints.reason import Check, Reason
from dopd_lightning.hints.server import ServerWriter
from dopd_lightning.hints.writer import Failure, Replies, Reply, Tokens, Write, Writer

__all__ = [
    "KINDS",
    "Check",
    "Failure",
    "HintPipeline",
    "Kind",
    "LocalWriter",
    "Reason",
    "Replies",
    "Reply",
    "Report",
    "ServerWriter",
    "Tokens",
    "Write",
    "Writer",
]
