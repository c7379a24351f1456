"""Fusion rules: from what is known about each response token to what it is supervised by."""

from dopd_lightning.fusion.confidence import Confidence
from dopd_lightning.fusion.data import Data
from dopd_lightning.fusion.declaration import pairs_of, tables_of
from dopd_lightning.fusion.dopd import DOPD
from dopd_lightning.fusion.entropy_aware import EntropyAware
from dopd_lightning.fusion.importance import Importance
from dopd_lightning.fusion.mixture import Mixture
from dopd_lightning.fusion.product import Product
from dopd_lightning.fusion.prune import Prune
from dopd_lightning.fusion.routing import Regime, Thresholds, advantage_gap, route, thresholds
from dopd_lightning.fusion.rule import FusionRule, Pair, Supervision
from dopd_lightning.fusion.statistics import TokenStatistics
from dopd_lightning.fusion.surer import Surer
from dopd_lightning.fusion.teacher import Reference, Teacher

__all__ = [
    "DOPD",
    "Confidence",
    "Data",
    "EntropyAware",
    "FusionRule",
    "Importance",
    "Mixture",
    "Pair",
    "Product",
    "Prune",
    "Reference",
    "Regime",
    "Supervision",
    "Surer",
    "Teacher",
    "Thresholds",
    "TokenStatistics",
    "advantage_gap",
    "pairs_of",
    "route",
    "tables_of",
    "thresholds",
]
