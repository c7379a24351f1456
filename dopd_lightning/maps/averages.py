"""A snapshot in a few numbers, for loggers that have nothing but numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dopd_lightning.fusion import Regime
from dopd_lightning.maps.snapshot import MappedResponse

_NAMES = {"gap": "gap", "loss": "token_loss"}
_NAMES |= {f"{role}_divergence": f"divergence/{role}" for role in ("teacher", "reference")}
_NAMES |= {f"{role}_entropy": f"entropy/{role}" for role in ("student", "teacher", "reference")}


def averages(responses: Sequence[MappedResponse]) -> dict[str, float]:
    """Means over the tokens of the responses to the fixed prompts, by name (docs/configuration.md); {} of no token."""
    fixed = [response for response in responses if response.fixed]
    tokens = sum(len(response.token_ids) for response in fixed)
    if not tokens:
        return {}
    means = {"response/length": tokens / len(fixed)}
    for quantity, name in _NAMES.items():
        if all(quantity in response.quantities for response in fixed):
            means[name] = sum(float(response.quantities[quantity].sum()) for response in fixed) / tokens
    regimes = np.concatenate([response.regimes for response in fixed])
    if (regimes >= 0).any():
        means |= {f"share/{regime.name}": float((regimes == regime).mean()) for regime in Regime}
    return {f"map/{name}": value for name, value in means.items()}
