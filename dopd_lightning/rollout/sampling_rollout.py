"""Base of rollouts that sample."""

from __future__ import annotations

from dataclasses import dataclass

from dopd_lightning.errors import ConfigError, check_range
from dopd_lightning.rollout.engine import Sampling
from dopd_lightning.rollout.interface import RolloutRequest


@dataclass(frozen=True, kw_only=True)
class Generated(Sampling):
    """Settings of rollouts that sample."""

    samples_per_prompt: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("rollout.samples_per_prompt", self.samples_per_prompt, at_least=1)
        if self.temperature == 0 and self.samples_per_prompt > 1:
            raise ConfigError(
                f"rollout.samples_per_prompt: {self.samples_per_prompt} greedy responses (rollout.temperature=0) would "
                "all be the same; use a temperature above 0 or one sample per prompt"
            )

    @property
    def sampling(self) -> Sampling:
        return self

    def _by(self, name: str, request: RolloutRequest) -> list[list[int]]:
        return request.write(name, self, self.samples_per_prompt)
