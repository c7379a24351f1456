"""Advantages of rewards, by numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from dopd_lightning.errors import ConfigError
from dopd_lightning.fusion import TokenStatistics, advantages

REWARDS = torch.tensor([1.0, 0.0, 0.0, 0.5, torch.nan, 1.0])
GROUP = torch.tensor([0, 0, 0, 1, 1, 2])


def statistics(rewards=REWARDS, group=GROUP):
    logits, ids = torch.zeros(len(rewards), 1, 2), torch.zeros(len(rewards), 1, dtype=torch.long)
    mask = torch.ones(len(rewards), 1)
    return TokenStatistics.from_logits(logits, {}, ids, mask, rewards={"outcome": rewards}, group=group)


def test_a_group_is_its_own_baseline_and_unknown_rewards_do_not_count():
    found = advantages(statistics(), "outcome", "group")
    torch.testing.assert_close(found, torch.tensor([2 / 3, -1 / 3, -1 / 3, 0, 0, 0]))


def test_the_batch_is_the_baseline():
    """The mean of the five known rewards is 0.5."""
    found = advantages(statistics(), "outcome", "batch")
    torch.testing.assert_close(found, torch.tensor([0.5, -0.5, -0.5, 0, 0, 0.5]))


def test_without_a_baseline_rewards_are_advantages():
    assert advantages(statistics(), "outcome", "none").tolist() == [1, 0, 0, 0.5, 0, 1]


def test_scaled_by_the_spread_of_the_group():
    """Deviations of 1, 0 and 0 from their mean: variance 2 / 9."""
    found = advantages(statistics(), "outcome", "group", scale=True)
    unit = math.sqrt(2 / 9)
    torch.testing.assert_close(found, torch.tensor([2 / 3, -1 / 3, -1 / 3, 0, 0, 0]) / unit)


@pytest.mark.parametrize("scale", [False, True])
def test_a_group_without_spread_teaches_nothing(scale):
    same = statistics(torch.full((4,), 0.3), torch.tensor([0, 0, 1, 1]))
    assert advantages(same, "outcome", "group", scale=scale).tolist() == [0, 0, 0, 0]


def test_a_source_without_rewards_is_named():
    with pytest.raises(ConfigError, match=r"no rewards of the source 'judge'; .* must name 'judge' in `needs`"):
        advantages(statistics(), "judge", "group")
