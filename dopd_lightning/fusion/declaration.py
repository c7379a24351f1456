"""Targets and divergences of a rule's terms, determined before training."""

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
    """Return the targets and divergences that the terms of a rule can have.

    These are the rule's ``pairs``. A rule without ``pairs`` is copied and called on tokens with random logits, in this
    process alone and without a change of the random state; if the call fails, the result is empty.

    Raises:
        ConfigError: if a target uses a source that ``needs`` does not name, or if the called rule raises it.

    Example:
        >>> from dopd_lightning.fusion import Mixture
        >>> [(sorted(pair.target.sources), pair.divergence.kind) for pair in pairs_of(Mixture())]
        [(['reference', 'teacher'], 'reverse_kl')]
    """
    pairs: Sequence[Pair] | None = getattr(rule, "pairs", None)
    if pairs is None:
        pairs = _pairs_on_random_tokens(rule)
    for name in (name for pair in pairs for name in sorted(pair.target.sources)):
        if name not in rule.needs:
            raise ConfigError(
                f"fusion: a target of {type(rule).__name__} uses the source {name!r}, which is missing from its "
                f"`needs` ({', '.join(sorted(rule.needs)) or 'none'}); add it there"
            )
    return pairs


def _pairs_on_random_tokens(rule: FusionRule) -> Sequence[Pair]:
    try:
        with torch.random.fork_rng(devices=[]), alone():
            return [Pair(term.target, term.divergence) for term in copy.deepcopy(rule)(_random_statistics(rule)).terms]
    except ConfigError:
        raise
    except Exception:  # random tokens may break a rule's assumptions; each step checks its terms again
        return []


def _random_statistics(rule: FusionRule) -> TokenStatistics:
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
    """Return the top-K size that the rule's terms need of each policy, by name.

    The pass that scores a policy keeps its K likeliest tokens, so that the loss needs no second pass.

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
