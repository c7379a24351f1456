"""Configuration of the method, checked before any model loads, by the command line and by `DOPDModule`."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

from transformers import PreTrainedConfig, PreTrainedTokenizerBase

from dopd_lightning.data import Verifier, get_verifier
from dopd_lightning.divergence import Divergence, Reduction, Target
from dopd_lightning.errors import ConfigError, check_choice, check_range
from dopd_lightning.fusion import FusionRule, pairs_of
from dopd_lightning.rollout import Engine, Rollout
from dopd_lightning.training.consistency import described


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Settings that can be checked together without a model.

    Attributes:
        fusion: the rule, whose declared targets and divergences are checked.
        rollout: writes responses.
        engine: generates the student's responses.
        sources: names of all sources.
        reduction: ``rollout`` or ``token``.
        loss_temperature: above 0.
        loss_memory: MiB, above 0.
        verifier: a name or a callable.

    Raises:
        ConfigError: for an unknown choice, a number out of range, a class or a name instead of an object, a missing
            source, or as :meth:`check_pairs`.
    """

    fusion: FusionRule
    rollout: Rollout
    engine: Engine
    sources: Collection[str]
    reduction: str
    loss_temperature: float
    loss_memory: float
    verifier: str | Verifier

    def __post_init__(self) -> None:
        _check_part("fusion", self.fusion, ["needs"], "DOPD()")
        _check_part("rollout", self.rollout, ["sampling", "writers", "student_writes"], "StudentRollout()")
        check_choice("reduction", self.reduction, get_args(Reduction))
        check_range("loss_temperature", self.loss_temperature, above=0)
        check_range("loss_memory", self.loss_memory, above=0)
        get_verifier(self.verifier)
        self.check_pairs(pairs_of(self.fusion))
        self._check_sources()

    def _check_sources(self) -> None:
        needed = [("fusion rule", name) for name in sorted(self.fusion.needs)]
        needed += [("rollout", name) for name in sorted(self.rollout.writers - {"student"})]
        for who, name in needed:
            if name in ("student", "data"):
                raise ConfigError(f"fusion: {name!r} is not a source; name one of {', '.join(self.sources)}")
            if name not in self.sources:
                key = name if name in ("teacher", "reference") else f"sources.{name}"
                rewards = name in getattr(self.fusion, "rewards", ())
                give = f"add sources=[{name}]" if rewards else "give a model"
                raise ConfigError(f"{key}: is not set, and the {who} needs it; {give}, or choose another {who}")

    def check_pairs(self, pairs: Iterable[tuple[Target, Divergence]]) -> None:
        """Refuse ``support=sampled`` and policy gradients on tokens drawn from another distribution than the loss's.

        Raises:
            ConfigError: naming the setting.
        """
        pairs = list(pairs)
        if any(target.on_policy for target, _ in pairs):
            key, what, otherwise = "fusion", "a policy gradient", "another rule"
        elif any(how.support == "sampled" for _, how in pairs):
            key, what, otherwise = "fusion.support", "'sampled'", "the support top_k or full"
        else:
            return
        if not self.rollout.student_writes:
            raise ConfigError(
                f"{key}: {what} needs responses that the student wrote, but this rollout has others; "
                f"choose rollout=student, or {otherwise}"
            )
        sampling = self.rollout.sampling
        found = {f"rollout.{name}": getattr(sampling, name) for name in ("temperature", "top_p", "top_k")}
        plain = {"rollout.temperature": 1, "rollout.top_p": 1, "rollout.top_k": 0, "module.loss_temperature": 1}
        for name, value in {**found, "module.loss_temperature": self.loss_temperature}.items():
            if value != plain[name]:
                raise ConfigError(
                    f"{name}: {value} means that responses are not sampled from the distribution in the loss, so "
                    f"{what} ({key}) would be biased; use {plain[name]}, or {otherwise}"
                )

    def check_top_k(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Refuse a support larger than the vocabulary.

        Raises:
            ConfigError: if a term of the rule has a top-K support, and its ``top_k`` exceeds the number of tokens.
        """
        top_ks = [how.top_k for _, how in pairs_of(self.fusion) if how.support == "top_k"]
        top_k, size = max(top_ks, default=0), max(tokenizer.get_vocab().values()) + 1
        if top_k > size:
            raise ConfigError(f"fusion.top_k: {top_k} is above the vocabulary of {size} tokens; choose at most that")

    def room_for_prompt(self, configs: Mapping[str, PreTrainedConfig]) -> int:
        """Return the length of the longest prompt, in tokens, that leaves room for ``rollout.max_new_tokens``.

        Args:
            configs: configs of the policies, by name.

        Raises:
            ConfigError: if there is no room for a prompt.
        """
        limit = self.rollout.sampling.max_new_tokens
        limits = {
            name: getattr(config.get_text_config(), "max_position_embeddings", None) for name, config in configs.items()
        }
        room = sys.maxsize
        for name, positions in {**limits, "engine": self.engine.positions}.items():
            if positions and limit >= positions:
                raise ConfigError(
                    f"rollout.max_new_tokens: {limit} leaves no room for a prompt in the {name}'s {positions} positions"
                )
            room = min(room, positions - limit if positions else sys.maxsize)
        return room


def _check_part(name: str, part: object, attributes: Sequence[str], example: str) -> None:
    missing = next((each for each in attributes if not hasattr(part, each)), None)
    if isinstance(part, type) or missing is not None or not callable(part):
        lacks = "" if missing is None or isinstance(part, type | str) else f", without the attribute {missing!r}"
        raise ConfigError(f"{name}: {described(part)}{lacks}; give an object such as {example}")
