"""Fusion rules: compute the loss terms of each response token from its statistics."""

from dopd_lightning.fusion.advantage import advantages
from dopd_lightning.fusion.confidence import Confidence
from dopd_lightning.fusion.data import Data
from dopd_lightning.fusion.declaration import pairs_of, tables_of
from dopd_lightning.fusion.dopd import DOPD
from dopd_lightning.fusion.dopd_outcome import DOPDOutcome
from dopd_lightning.fusion.entropy_aware import EntropyAware
from dopd_lightning.fusion.importance import Importance
from dopd_lightning.fusion.mixture import Mixture
from dopd_lightning.fusion.opdvr import OPDVR
from dopd_lightning.fusion.opsa import OPSA
from dopd_lightning.fusion.product import Product
from dopd_lightning.fusion.prune import Prune
from dopd_lightning.fusion.r2_opd import R2OPD
from dopd_lightning.fusion.reward_mix import RewardMix
from dopd_lightning.fusion.routing import Regime, Thresholds, advantage_gap, route, thresholds
from dopd_lightning.fusion.rule import FusionRule, Pair, Supervision
from dopd_lightning.fusion.statistics import TokenStatistics
from dopd_lightning.fusion.surer import Surer
from dopd_lightning.fusion.teacher import Reference, Teacher
from dopd_lightning.fusion.teacher_probe import TeacherProbe

__all__ = [
    "DOPD",
    "OPDVR",
    "OPSA",
    "R2OPD",
    "Confidence",
    "DOPDOutcome",
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
    "RewardMix",
    "Supervision",
    "Surer",
    "Teacher",
    "TeacherProbe",
    "Thresholds",
    "TokenStatistics",
    "advantage_gap",
    "advantages",
    "pairs_of",
    "route",
    "tables_of",
    "thresholds",
]
