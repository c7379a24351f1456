"""Reduction of losses per token to a scalar."""

from __future__ import annotations

import pytest
import torch

from dopd_lightning.divergence import reduce_loss
from dopd_lightning.divergence.reduction import reduction_coefficients
from dopd_lightning.errors import ConfigError

LOSSES = torch.tensor([[1.0, 2.0, 3.0], [5.0, 9.0, 9.0], [7.0, 7.0, 7.0]])
MASK = torch.tensor([[1, 1, 1], [1, 0, 0], [0, 0, 0]]).bool()


def test_rollout_means_each_rollout_first():
    assert reduce_loss(LOSSES, MASK).item() == pytest.approx((2 + 5 + 0) / 3)  # an empty rollout gives 0 and counts


def test_token_is_one_mean():
    assert reduce_loss(LOSSES, MASK, "token").item() == pytest.approx((1 + 2 + 3 + 5) / 4)


def test_coefficients_are_each_tokens_share():
    by_rollout = [1 / 9, 1 / 9, 1 / 9, 1 / 3, 0, 0, 0, 0, 0]
    assert reduction_coefficients(MASK).flatten().tolist() == pytest.approx(by_rollout)
    by_token = [1 / 4] * 4 + [0] * 5
    assert reduction_coefficients(MASK, "token").flatten().tolist() == pytest.approx(by_token)


@pytest.mark.parametrize("reduction", ["rollout", "token"])
def test_losses_times_coefficients_add_up_to_the_loss(reduction):
    generator = torch.Generator().manual_seed(0)
    losses, mask = torch.rand(8, 5, generator=generator), torch.rand(8, 5, generator=generator) < 0.4
    mask[2] = False
    coefficients = reduction_coefficients(mask, reduction)
    assert (losses * coefficients).sum().item() == pytest.approx(reduce_loss(losses, mask, reduction).item())
    assert not coefficients[~mask].any()
    assert reduction_coefficients(mask.long(), reduction).equal(coefficients)


def test_rollout_is_exact_under_accumulation():
    generator = torch.Generator().manual_seed(0)
    losses, mask = torch.rand(8, 5, generator=generator), torch.rand(8, 5, generator=generator) < 0.4
    mask[2:4] = False  # a micro-batch without a token
    micro = [reduce_loss(losses[i : i + 2], mask[i : i + 2]) for i in range(0, 8, 2)]
    assert torch.stack(micro).mean().item() == pytest.approx(reduce_loss(losses, mask).item())


@pytest.mark.parametrize("reduction", ["rollout", "token"])
def test_masked_places_may_hold_anything(reduction):
    losses = LOSSES.masked_fill(~MASK, torch.nan).requires_grad_()
    loss = reduce_loss(losses, MASK, reduction)
    loss.backward()
    assert loss.item() == pytest.approx(reduce_loss(LOSSES, MASK, reduction).item())
    assert (losses.grad[~MASK] == 0).all()


@pytest.mark.parametrize("reduction", ["rollout", "token"])
@pytest.mark.parametrize("shape", [(2, 3), (2, 0), (0, 3)])
def test_no_token_gives_zero(reduction, shape):
    losses = torch.ones(shape, requires_grad=True)
    loss = reduce_loss(losses, torch.zeros(shape, dtype=torch.bool), reduction)
    loss.backward()
    assert loss.item() == 0
    assert (losses.grad == 0).all()


def test_another_reduction_is_refused():
    with pytest.raises(ConfigError, match="reduction: 'mean' is not one of rollout, token"):
        reduce_loss(LOSSES, MASK, "mean")
    with pytest.raises(ConfigError, match="reduction: 'mean' is not one of rollout, token"):
        reduction_coefficients(MASK, "mean")
