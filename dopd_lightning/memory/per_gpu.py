"""The parts that a process's GPU has to hold, and the most that is there at once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from transformers import PreTrainedConfig

from dopd_lightning.errors import check_choice, check_range
from dopd_lightning.fusion import DOPD
from dopd_lightning.memory.policy import Batch, Policy
from dopd_lightning.scores import LOSS_MEMORY

STRATEGIES = ("ddp", "fsdp")
PRECISIONS = ("32-true", "bf16-mixed", "bf16-true")

_STATES_OF_ADAMW = 2
_LAYERS_GATHERED = 2
"""Layers of a sharded policy that are whole at once: the one that computes, and the next one, being gathered."""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes of one process's GPU, by part.

    Attributes:
        student, gradients, optimizer: weights and what belongs to them; always there. (Lightning lets go of gradients
            only just before the next backward pass.)
        sources: the weights of each source, by name; always there.
        buckets: the copies of the gradients that DDP sends.
        gathered_to_write: the student's weights, whole, while it writes under FSDP2.
        cache: keys and values of the rollouts at their full length, and of one layer again, which grows by copying.
        gathered_to_score: under FSDP2, embedding and head of each policy, and two decoder layers of the largest.
        kept: what autograd keeps for the student's backward pass, low-precision copies of its weights included.
        in_flight: what one decoder layer makes on the way, taken to be what autograd would keep of it; of the policy
            where it is largest.
        states: hidden states of the policies, the gradient of the student's, and tables of the sources' likeliest
            tokens.
        loss: logits, as far as ``loss_memory`` goes.
        head_gradient: of the student's head, in float32.
        update: what AdamW makes on the way, on a GPU: as much as the weights.
    """

    student: int
    gradients: int
    optimizer: int
    sources: Mapping[str, int]
    buckets: int
    gathered_to_write: int
    cache: int
    gathered_to_score: int
    kept: int
    in_flight: int
    states: int
    loss: int
    head_gradient: int
    update: int

    @property
    def always(self) -> int:
        """Bytes that stay from step to step."""
        return self.student + self.gradients + self.optimizer + sum(self.sources.values()) + self.buckets

    @property
    def rollout(self) -> int:
        """While the student writes."""
        return self.always + self.gathered_to_write + self.cache

    @property
    def step(self) -> int:
        """Bytes between the forward passes and the end of the backward pass."""
        of_loss = self.states + self.loss + self.head_gradient
        return self.always + self.gathered_to_score + self.kept + self.in_flight + of_loss

    @property
    def peak(self) -> int:
        """The most that is there at once."""
        return max(self.rollout, self.step, self.always + self.update)


def memory_per_gpu(
    student: PreTrainedConfig,
    teacher: PreTrainedConfig | None = None,
    *,
    reference: PreTrainedConfig | str = "student",
    sources: Mapping[str, PreTrainedConfig | str] | None = None,
    processes: int = 1,
    strategy: str = "ddp",
    precision: str = "bf16-mixed",
    teacher_dtype: torch.dtype = torch.bfloat16,
    prompt_tokens: int,
    response_tokens: int,
    rollouts: int,
    top_k: int = DOPD.top_k,
    loss_memory: float = LOSS_MEMORY,
    activation_checkpointing: bool = False,
) -> Memory:
    """Bytes that `DOPDModule` needs on each GPU, with AdamW, rollouts by transformers, and every token a real one.

    Args:
        student: its config; it has float32 weights, but with ``bf16-true``.
        teacher: the config of the source of this name, or None.
        reference: likewise, or a kind that is made of the student: ``student``, ``snapshot``, ``ema`` or ``base``.
        sources: further ones by name, likewise; each member of an ensemble is one.
        processes: GPUs, of all nodes.
        strategy: ``ddp`` (or one process) or ``fsdp``.
        precision: Lightning's ``32-true``, ``bf16-mixed`` or ``bf16-true``.
        teacher_dtype: of all frozen models; with ``bf16-true`` these are bfloat16.
        prompt_tokens, response_tokens: lengths, padding included.
        rollouts: of a process in a micro-batch.
        top_k: of the likeliest tokens that the sources' tables keep.
        loss_memory: MiB, as the module's.
        activation_checkpointing: whether autograd keeps a decoder layer's input alone, and does the rest again.

    Raises:
        ConfigError: for an unknown strategy, precision or reference, or a number below 1.

    Example:
        >>> from transformers import Qwen3Config
        >>> small = Qwen3Config(vocab_size=64, hidden_size=8, intermediate_size=16, num_hidden_layers=1)
        >>> memory = memory_per_gpu(small, small, prompt_tokens=8, response_tokens=8, rollouts=2)
        >>> memory.gradients == memory.student, memory.optimizer == 2 * memory.student  # AdamW has two averages
        (True, True)
    """
    check_choice("strategy", strategy, STRATEGIES)
    check_choice("precision", precision, PRECISIONS)
    counts = {"processes": processes, "rollouts": rollouts}
    lengths = {"prompt_tokens": prompt_tokens, "response_tokens": response_tokens}
    for name, number in (counts | lengths).items():
        check_range(name, number, at_least=1)
    own = torch.bfloat16 if precision == "bf16-true" else torch.float32
    frozen = torch.bfloat16 if precision == "bf16-true" else teacher_dtype
    batch = Batch(rollouts, prompt_tokens, response_tokens, precision == "bf16-mixed")

    pupil = Policy.of(student, own, batch)
    named = {**({} if teacher is None else {"teacher": teacher}), "reference": reference, **(sources or {})}
    read = {name: _policy(name, given, pupil, frozen, batch) for name, given in named.items()}
    policies = [pupil, *read.values()]
    with_weights = {name: policy for name, policy in read.items() if named[name] not in ("student", "base")}

    sharded = strategy == "fsdp"
    copies = pupil.root + sum(policy.root for policy in with_weights.values())

    def share(weights: int) -> int:
        return math.ceil(weights / processes) if sharded else weights

    return Memory(
        student=share(pupil.weights),
        gradients=share(pupil.weights),
        optimizer=share(_STATES_OF_ADAMW * pupil.weights),
        sources={name: share(policy.weights) for name, policy in with_weights.items()},
        buckets=pupil.weights if not sharded and processes > 1 else 0,
        gathered_to_write=pupil.weights if sharded else 0,
        cache=pupil.cache,
        gathered_to_score=copies + _LAYERS_GATHERED * max(each.layer for each in policies) if sharded else 0,
        kept=pupil.kept_of_inputs if activation_checkpointing else pupil.kept,
        in_flight=max(each.kept_of_layer for each in policies),
        states=sum(each.states for each in policies)
        + 4 * batch.response_tokens * pupil.width
        + (len(policies) - 1) * 8 * top_k * batch.response_tokens,
        loss=int(loss_memory * 2**20),
        head_gradient=4 * pupil.head,
        update=share(pupil.weights),
    )


def _policy(name: str, given: PreTrainedConfig | str, student: Policy, dtype: torch.dtype, batch: Batch) -> Policy:
    """The policy that a source scores with."""
    if isinstance(given, PreTrainedConfig):
        return Policy.of(given, dtype, batch)
    check_choice(name, given, ("student", "snapshot", "ema", "base"))
    return student
