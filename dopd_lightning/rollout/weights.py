"""A policy's weights for an engine that has a copy, and whether the copy says what the policy says."""

from __future__ import annotations

import torch
import torch.distributed
from torch import Tensor
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel
from transformers.core_model_loading import revert_weight_conversion

from dopd_lightning.errors import ConfigError, EngineError
from dopd_lightning.rollout.engine import Engine, Sampling

_PROBE = list(range(10, 18))  # low ids: plain characters in most vocabularies, special tokens in hardly any
_PROBE_TOKENS = 8
_TOLERANCE = 0.25
"""Nats. An engine in bfloat16 is off by hundredths, another model by whole ones."""


@torch.no_grad()
def checkpoint_weights(policy: PreTrainedModel, device: torch.device | str) -> dict[str, Tensor]:
    """The weights under the names that the model's files have, each tied one once.

    Sharded ones are gathered one at a time, so all processes must call this. The first gets the weights, the others
    nothing.

    Args:
        policy: of any transformers architecture.
        device: where the weights go to; those that are there are not copied.

    Raises:
        ConfigError: for a policy with an adapter, whose files would have to be merged ones.
    """
    if getattr(policy, "peft_config", None):
        raise ConfigError(
            "engine: a student with an adapter can only be written by transformers; choose engine=transformers, or "
            "train all weights"
        )
    weights, first = {}, rank() == 0
    seen: set[int] = set()
    for name, weight in policy.state_dict(keep_vars=True).items():
        if id(weight) in seen:
            continue
        seen.add(id(weight))
        whole = weight.detach()
        if isinstance(whole, DTensor):
            whole = whole.full_tensor()
        if first:
            weights[name] = whole.to(device)
    return dict(revert_weight_conversion(policy, weights)) if first else {}


@torch.no_grad()
def check_agreement(engine: Engine, policy: PreTrainedModel) -> None:
    """Let the engine write a few tokens, and refuse if the policy finds them more or less likely than the engine says.

    This costs one short response, and finds what no error message would tell: another model of the same shape, weights
    that did not all arrive, log-probabilities of something else than the policy.

    Raises:
        EngineError: naming the difference.
    """
    size = policy.config.get_text_config().vocab_size
    probe = [min(token, size - 1) for token in _PROBE]
    greedy = Sampling(max_new_tokens=_PROBE_TOKENS, temperature=0)
    written = engine.generate(policy, [probe], greedy, eos_ids=[], pad_id=0, vocabulary_size=size, logps=True)
    assert written.logps is not None, "asked for"
    ids = torch.tensor([probe + written.ids[0]], device=policy.device)
    logits = policy(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits[0, len(probe) - 1 : -1]
    expected = logits.float().log_softmax(-1).gather(1, ids[0, len(probe) :, None])[:, 0]
    found = torch.tensor(written.logps[0], device=expected.device)
    difference = (found - expected).abs().mean().item()
    if not difference <= _TOLERANCE:
        raise EngineError(
            f"engine: it has been given the student's weights, and yet its log-probabilities differ from the student's "
            f"by {difference:.2f} nats on average. It holds another model than the student, or its vLLM does not renew "
            "all weights (on CPUs, vLLM 0.32 keeps the old head of a model with tied embeddings); see docs/rollouts.md"
        )


def rank() -> int:
    """Number of this process."""
    return torch.distributed.get_rank() if processes() > 1 else 0


def processes() -> int:
    """Return the number of processes."""
    there = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_world_size() if there else 1
