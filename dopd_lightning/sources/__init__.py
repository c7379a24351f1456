"""Sources of supervision: each reads the student's responses after its own prompts, and scores them."""

from dopd_lightning.sources.adapter_base import Base
from dopd_lightning.sources.by_domain import ByDomain
from dopd_lightning.sources.column import Column
from dopd_lightning.sources.composite import Several, keeping_dtype
from dopd_lightning.sources.earlier_reference import REFERENCE_KINDS, reference_of_kind
from dopd_lightning.sources.ema import Ema
from dopd_lightning.sources.ensemble import Ensemble
from dopd_lightning.sources.named import (
    KINDS,
    AnySource,
    as_source,
    given_policies,
    load_source,
    named_sources,
    policies_of,
    sources_of,
)
from dopd_lightning.sources.outcome import Outcome
from dopd_lightning.sources.policy import Policy
from dopd_lightning.sources.snapshot import Snapshot
from dopd_lightning.sources.source import OnePolicy, RewardSource, ScoringRequest, ScoringSource, Source
from dopd_lightning.sources.student import Student

__all__ = [
    "KINDS",
    "REFERENCE_KINDS",
    "AnySource",
    "Base",
    "ByDomain",
    "Column",
    "Ema",
    "Ensemble",
    "OnePolicy",
    "Outcome",
    "Policy",
    "RewardSource",
    "ScoringRequest",
    "ScoringSource",
    "Several",
    "Snapshot",
    "Source",
    "Student",
    "as_source",
    "given_policies",
    "keeping_dtype",
    "load_source",
    "named_sources",
    "policies_of",
    "reference_of_kind",
    "sources_of",
]
