"""Checks that a policy gives a text the same probabilities alone, padded beside a longer one, and token by token.

The method relies on this, but some architectures violate it: a recurrent state runs through padding as if it were text,
or a cached step computes something else than a full forward pass. The loss falls nevertheless. Therefore each policy is
tested on a few tokens, once for scoring and once for writing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from dopd_lightning.distributed.sharding import gathered
from dopd_lightning.errors import ConfigError
from dopd_lightning.inputs import Responses, view_of
from dopd_lightning.policies import evaluating
from dopd_lightning.rollout import step_logits
from dopd_lightning.scores import response_logits

_TEXT = "A quick test: 12 + 34 = 46, and the colours of the 3 small birds in that old tree are red, green and blue."
_LENGTHS = (37, 11)
"""Lengths of the two prompts. Their difference is odd, since some architectures merge tokens in pairs."""
_RESPONSE = 3
_ROUNDING = {"float32": 5e-4, "gpu": 0.02, "low": 0.1}
"""Largest allowed differences, as shares of the log-probabilities' spread over the vocabulary. (GPUs may round factors
of float32 products to ten bits.) Of 150 tiny architectures, the correct ones differ by 1e-5 in float32 and by 0.01 in
bfloat16; reading padding as text makes a difference of 0.07 or more."""


class Probes:
    """Test each policy once for scoring and once for writing.

    Args:
        tokenizer: tokenizer of all policies.
        vocabulary_size: number of real tokens.
        positions: largest number of tokens that all policies can read.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, vocabulary_size: int, positions: int) -> None:
        long = min(_LENGTHS[0], positions - _RESPONSE)
        short = min(_LENGTHS[1], long // 2)
        text = tokenizer.encode(_TEXT, add_special_tokens=False)
        tokens = (text * (long + short + 2 * _RESPONSE))[: long + short + 2 * _RESPONSE]
        self._prompts = [tokens[:long], tokens[long : long + short]]
        self._responses = [tokens[-2 * _RESPONSE : -_RESPONSE], tokens[-_RESPONSE:]]
        # The padding token's embedding may be zeros at first, which would hide the fault: pad with another token.
        self._pad_id = text[0]
        self._vocabulary_size = vocabulary_size
        self._tried: set[tuple[int, str]] = set()  # one policy may have two roles

    def try_scoring(self, role: str, policy: PreTrainedModel) -> None:
        """Test that the scores of two responses are right. All processes must call it for a sharded policy.

        Raises:
            ConfigError: if their probabilities depend on padding or on later tokens.
        """
        self._once(role, "scoring", policy, self._score)

    def try_writing(self, role: str, policy: PreTrainedModel) -> None:
        """Test that cached generation is right. All processes must call it for a sharded policy.

        Raises:
            ConfigError: if tokens are sampled from other probabilities than they are scored with.
        """
        self._once(role, "writing", policy, self._write)

    @torch.no_grad()
    def _once(self, role: str, way: str, policy: PreTrainedModel, trial: Callable[[_Trial], None]) -> None:
        if (id(policy), way) in self._tried:
            return
        device = policy.device
        with (
            evaluating(policy),
            gathered(policy),
            torch.autocast(device.type, enabled=False),
            torch.random.fork_rng([device] if device.type == "cuda" else []),
        ):
            try:
                trial(_Trial(role, policy))
            except (TypeError, AttributeError, LookupError, NotImplementedError) as error:
                raise ConfigError(
                    f"{role}: {type(policy).__name__} cannot be used for {way}, which calls a model with input_ids, "
                    f"attention_mask, position_ids and logits_to_keep: {type(error).__name__}: {error}"
                ) from error
        self._tried.add((id(policy), way))

    def _score(self, trial: _Trial) -> None:
        alone = [self._logits(trial.policy, [n], self._responses) for n in (0, 1)]
        first = [self._logits(trial.policy, [n], [response[:1] for response in self._responses]) for n in (0, 1)]
        together = self._logits(trial.policy, [0, 1], self._responses)
        for n in (0, 1):
            trial.compare(
                first[n],
                alone[n][:, :1],
                "looks ahead: later tokens change a token's log-probability by up to {nats:.2g} nats, which must not "
                "happen in a causal model",
            )
        trial.compare(
            together,
            torch.cat(alone),
            "reads padding as text: the log-probabilities of a response with and without padding differ by up to "
            "{nats:.2g} nats",
        )

    def _write(self, trial: _Trial) -> None:
        expected = self._logits(trial.policy, [0, 1], self._responses).repeat_interleave(2, dim=0)
        twice = [response for response in self._responses for _ in range(2)]
        found = step_logits(trial.policy, self._prompts, twice, pad_id=self._pad_id)[..., : self._vocabulary_size]
        trial.compare(
            found,
            expected,
            "samples from other probabilities than it is scored with: cached generation and a full forward pass "
            "differ by up to {nats:.2g} nats",
        )

    def _logits(self, policy: PreTrainedModel, rows: Sequence[int], responses: Sequence[Sequence[int]]) -> Tensor:
        """Return logits ``(rows, tokens, vocab)`` of the given prompts and responses."""
        prompts = [self._prompts[row] for row in rows]
        given = Responses.from_lists([responses[row] for row in rows], self._pad_id).to(policy.device)
        return response_logits(policy, view_of(prompts, given, self._pad_id), self._vocabulary_size)


class _Trial(NamedTuple):
    """Test of a policy in a role."""

    role: str
    policy: PreTrainedModel

    def compare(self, found: Tensor, expected: Tensor, complaint: str) -> None:
        """Raise ConfigError for logits that differ by more than rounding."""
        nats = difference(found, expected, self.policy)
        if nats is not None:
            raise ConfigError(
                f"{self.role}: {type(self.policy).__name__} {complaint.format(nats=nats)}. Training would "
                "use wrong probabilities; choose another architecture"
            )


def difference(found: Tensor, expected: Tensor, policy: PreTrainedModel) -> float | None:
    """Return the largest difference, in nats, between logits that should be equal; None if it is rounding.

    Args:
        found: ``(..., vocab)``.
        expected: the same shape; not compared if not finite, since that is another fault.
        policy: the policy that computed both.
    """
    logps, right = found.float().log_softmax(-1), expected.float().log_softmax(-1)
    if not right.isfinite().all():
        return None
    spread = (right - right.mean(-1, keepdim=True)).square().mean().sqrt().clamp(min=1e-12)
    off = logps - right
    if policy.dtype.itemsize < 4 or getattr(policy, "hf_quantizer", None) is not None:
        rounding = _ROUNDING["low"]
    else:
        rounding = _ROUNDING["float32" if policy.device.type == "cpu" else "gpu"]
    return None if off.square().mean().sqrt() <= rounding * spread else off.abs().max().item()
