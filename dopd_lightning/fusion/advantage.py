"""Advantages: rewards minus a baseline."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from torch import Tensor

from dopd_lightning.distributed.processes import summed
from dopd_lightning.fusion.statistics import TokenStatistics

Baseline: TypeAlias = Literal["group", "batch", "none"]


def advantages(statistics: TokenStatistics, source: str, baseline: Baseline, *, scale: bool = False) -> Tensor:
    """Return the advantage of each response, its reward minus a baseline; 0 where the reward is unknown.

    With ``group``, the baseline is the mean over the known rewards of responses to the same prompt (GRPO, arXiv
    2402.03300); a group of equal rewards has advantages of 0. With ``batch``, it is the mean over the known rewards of
    all processes, which all have to call it.

    Args:
        statistics: statistics of a batch, with rewards ``(batch,)`` of the source.
        source: name of the source of rewards.
        baseline: ``group``, ``batch`` or ``none``.
        scale: divide by the population standard deviation of the rewards in the baseline; if it is 0, the advantage
            is 0.

    Returns:
        ``(batch,)``, float32.

    Raises:
        ConfigError: if the source gives no rewards.

    Example:
        >>> logits, ids = torch.zeros(3, 1, 2), torch.zeros(3, 1, dtype=torch.long)
        >>> rewards, group = {"outcome": torch.tensor([1.0, 0.0, 1.0])}, torch.tensor([0, 0, 1])
        >>> mask = torch.ones(3, 1)
        >>> statistics = TokenStatistics.from_logits(logits, {}, ids, mask, rewards=rewards, group=group)
        >>> advantages(statistics, "outcome", "group").tolist()
        [0.5, -0.5, 0.0]
    """
    rewards = statistics.reward(source).float()
    known = ~rewards.isnan()
    rewards = rewards.nan_to_num(nan=0.0)
    if baseline == "none":
        return rewards
    if baseline == "group":
        group = statistics.group
        assert group is not None, "rewards need the groups of their responses"
        sums = torch.zeros(3, len(rewards), device=rewards.device)  # there are at most as many groups as responses
        for row, values in enumerate((known.float(), rewards, rewards.square())):
            sums[row].index_add_(0, group, values)
        count, total, squares = (each[group] for each in sums)
    else:
        count, total, squares = summed(torch.stack([known.float(), rewards, rewards.square()]).sum(1))
    mean = total / count.clamp(min=1)
    centred = torch.where(known, rewards - mean, 0.0)
    if not scale:
        return centred
    spread = (squares / count.clamp(min=1) - mean.square()).clamp(min=0).sqrt()
    return torch.where(spread > 1e-6, centred / spread.clamp(min=1e-6), 0.0)
