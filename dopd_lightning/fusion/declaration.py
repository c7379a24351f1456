"""The targets and divergences of a rule's terms, known before there is a token."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch

from dopd_lightning.distributed.processes import alone
from dopd_lightning.errors import ConfigError
from dopd_lightning.fusion.rule import FusionRule, Pair
from dopd_lightning.fusion.statistics import TokenStatistics

_SHAPE = (2, 16, 8)


def pairs_of(rule: FusionRule) -> Sequence[Pair]:
    """The pairs that the rule declares, or that its terms have on tokens with random logits.

    A copy of the rule is tried, the random state is left as it was, and no other process takes part. There are none if
    it cannot work with such tokens.

    Raises:
        ConfigError: for a source that a pair uses and ``needs`` does not name; as the rule that is tried.

    Example:
        >>> from dopd_lightning.fusion import Mixture
        >>> [(sorted(pair.target.sources), pair.divergence.kind) for pair in pairs_of(Mixture())]
        [(['reference', 'teacher'], 'reverse_kl')]
    """
    pairs: Sequence[Pair] | None = getattr(rule, "pairs", None)
    if pairs is None:
        pairs = _tried(rule)
    for name in (name for pair in pairs for name in sorted(pair.target.sources)):
        if name not in rule.needs:
            raise ConfigError(
                f"fusion: {type(rule).__name__} has a target made of the source {name!r}, which its `needs` "
                f"({', '.join(sorted(rule.needs)) or 'none'}) does not name"
            )
    return pairs


def _tried(rule: FusionRule) -> Sequence[Pair]:
    try:
        with torch.random.fork_rng(devices=[]), alone():
            return [Pair(term.target, term.divergence) for term in copy.deepcopy(rule)(_made_up(rule)).terms]
    except ConfigError:
        raise
    except Exception:  # whatever a rule may expect of tokens; each step looks at its terms again
        return []


def _made_up(rule: FusionRule) -> TokenStatistics:
    generator = torch.Generator().manual_seed(0)
    rewarding = sorted(getattr(rule, "rewards", ()))
    scoring = sorted({*rule.needs} - {*rewarding})
    student, *sources = (2 * torch.randn(_SHAPE, generator=generator) for _ in range(1 + len(scoring)))
    ids, mask = torch.randint(_SHAPE[-1], _SHAPE[:2], generator=generator), torch.ones(_SHAPE[:2], dtype=torch.bool)
    named = dict(zip(scoring, sources, strict=True))
    rewards = {name: torch.tensor([1.0, 0.0]) for name in rewarding}
    group = torch.zeros(_SHAPE[0], dtype=torch.long)
    return TokenStatistics.from_logits(student, named, ids, mask, end_ids=[0], rewards=rewards, group=group)


def tables_of(rule: FusionRule) -> dict[str, int]:
    """Names of the policies whose top-K distributions the rule's terms compare, and the K.

    Their likeliest tokens are worth keeping from the pass that scores them, and need no second one.

    Example:
        >>> from dopd_lightning.fusion import DOPD
        >>> tables_of(DOPD(top_k=64))
        {'teacher': 64, 'reference': 64}
    """
    sizes: dict[str, int] = {}
    for target, how in pairs_of(rule):
        for name, top_k in target.tables(how).items():
            sizes[name] = max(top_k, sizes.get(name, 0))
    return sizes
