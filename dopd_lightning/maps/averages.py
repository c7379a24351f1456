"""A snapshot in a few numbers, for loggers that have nothing but numbers."""

from __future__ import annotations

import numpy as np

from dopd_lightning.fusion import Regime
from dopd_lightning.maps.quantities import STUDENT
from dopd_lightning.maps.snapshot import Snapshot
from dopd_lightning.record.names import GAP, LENGTH, divergence_name, entropy_name, of_map, share_name


def averages(snapshot: Snapshot) -> dict[str, float]:
    """Means over the tokens of the responses to the fixed prompts, by name (docs/watching.md); {} of no token.

    Example:
        >>> averages(Snapshot(0, [], {}))
        {}
    """
    fixed = [response for response in snapshot.responses if response.fixed]
    tokens = sum(len(response.token_ids) for response in fixed)
    if not tokens:
        return {}
    names = {"gap": GAP, "loss": "token_loss"}
    names |= {f"{source}_divergence": divergence_name(source) for source in snapshot.sources}
    names |= {f"{policy}_entropy": entropy_name(policy) for policy in (STUDENT, *snapshot.sources)}
    means = {LENGTH: tokens / len(fixed)}
    for quantity, name in names.items():
        if all(quantity in response.quantities for response in fixed):
            means[name] = sum(float(response.quantities[quantity].sum()) for response in fixed) / tokens
    regimes = np.concatenate([response.regimes for response in fixed])
    if (regimes >= 0).any():
        means |= {share_name(regime): float((regimes == regime).mean()) for regime in Regime}
    return {of_map(name): value for name, value in means.items()}
