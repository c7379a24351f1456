"""A policy gradient as the target."""

from __future__ import annotations

from dataclasses import dataclass

from dopd_lightning.divergence.own_token_target import OwnToken


@dataclass(frozen=True, eq=False)
class Advantage(OwnToken):
    """A policy gradient (REINFORCE): ``-A log student(y)`` on tokens ``y`` that the student drew.

    The value of the loss has no meaning; its gradient is that of the expected reward. Advantages are constants, of
    either sign.
    """

    on_policy = True
