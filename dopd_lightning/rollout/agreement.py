"""Check that an engine's copy of a policy gives the policy's log-probabilities."""

from __future__ import annotations

import torch
from transformers import PreTrainedModel

from dopd_lightning.errors import EngineError
from dopd_lightning.rollout.engine import Engine, Sampling

_PROBE = list(range(10, 18))  # low ids: plain characters in most vocabularies, special tokens in hardly any
_PROBE_TOKENS = 8
_TOLERANCE = 0.25
"""Largest mean difference, in nats. An engine in bfloat16 differs by hundredths, another model by several."""


@torch.no_grad()
def check_agreement(engine: Engine, policy: PreTrainedModel) -> None:
    """Let the engine write a few tokens, and compare its log-probabilities with the policy's.

    One short response finds faults without an error of their own: another model of the same shape, weights that did not
    all arrive, log-probabilities of another distribution.

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
            f"engine: it has received the student's weights, but its log-probabilities differ from the student's "
            f"by {difference:.2f} nats on average. It holds another model than the student, or its vLLM does not renew "
            "all weights (on CPUs, vLLM 0.32 keeps the old head of a model with tied embeddings); see docs/rollouts.md"
        )
