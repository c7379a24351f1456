"""Names of metrics, defined once: a callback that watches a name that is not logged would see nothing."""

from __future__ import annotations

from dopd_lightning.fusion import Regime

LOSS, GAP = "loss", "gap"
LENGTH, CUT_SHARE, EOS_SHARE = "response/length", "response/cut_share", "response/eos_share"
TOKENS_PER_SECOND = "tokens_per_second"


def logp_name(policy: str) -> str:
    """Name of the mean log-probability of the response tokens under a policy."""
    return f"logp/{policy}"


def divergence_name(source: str) -> str:
    """Name of the mean divergence of the student from a source."""
    return f"divergence/{source}"


def entropy_name(policy: str) -> str:
    """Name of the mean entropy of a policy."""
    return f"entropy/{policy}"


def share_name(regime: Regime) -> str:
    """Name of the share of response tokens in a regime."""
    return f"share/{regime.name}"


def of_regime(name: str, regime: Regime) -> str:
    """Name of the metric ``name``, restricted to the tokens of a regime."""
    return f"{name}/{regime.name}"


def reward_name(source: str) -> str:
    """Name of the mean of the known rewards of a source."""
    return f"reward/{source}"


def reward_spread_name(source: str) -> str:
    """Name of the standard deviation of the known rewards of a source over a step's responses."""
    return f"reward_spread/{source}"


def unknown_name(source: str) -> str:
    """Name of the share of unknown rewards of a source."""
    return f"reward_unknown/{source}"


def loss_share_name(regime: Regime) -> str:
    """Name of a regime's share of the tokens' losses, by absolute value before the reduction."""
    return f"loss_share/{regime.name}"


def accuracy_name(stage: str) -> str:
    """Name of the share of right answers in validation (``val``) or testing (``test``)."""
    return f"{stage}/accuracy"


def in_training(name: str) -> str:
    """Name of a metric of training steps."""
    return f"train/{name}"


def of_map(name: str) -> str:
    """Name of a metric of divergence maps."""
    return f"map/{name}"
