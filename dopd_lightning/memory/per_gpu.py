"""Parts of the memory of one process's GPU, and their peak."""

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
"""Layers of a sharded policy that are whole at once: the one that computes, and the next one, which is gathered."""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes on the GPU of one process, by part.

    Attributes:
        student: weights of the student.
        gradients: gradients of the student. They are always there: Lightning frees them just before the next backward
            pass.
        optimizer: states of AdamW.
        sources: weights of each source, by name.
        buckets: copies of the gradients that DDP communicates.
        gathered_to_write: whole weights of the student while it writes responses, under FSDP2.
        cache: keys and values of the rollouts at full length, plus those of one layer, which is copied to grow.
        gathered_to_score: embedding and head of each policy, and two decoder layers of the largest, under FSDP2.
        kept: tensors that autograd keeps for the student's backward pass, including low-precision copies of weights.
        in_flight: temporary tensors of one decoder layer, estimated by what autograd would keep of it, for the policy
            with most.
        states: hidden states of the policies, the gradient of the student's, and the sources' tables of likeliest
            tokens.
        loss: logits, limited by ``loss_memory``.
        head_gradient: gradient of the student's head, in float32.
        update: temporary tensors of AdamW, as large as the weights.

    Example:
        >>> from transformers import Qwen3Config
        >>> small = Qwen3Config(vocab_size=64, hidden_size=8, intermediate_size=16, num_hidden_layers=1)
        >>> memory = memory_per_gpu(small, prompt_tokens=8, response_tokens=8, rollouts=2, loss_memory=1.0)
        >>> memory.student, memory.gradients, memory.optimizer  # 4 bytes a parameter; AdamW has two moments
        (531040, 531040, 1062080)
        >>> memory.always  # their sum: the reference is the student, and adds no weights
        2124160
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
        """Bytes while the student writes responses."""
        return self.always + self.gathered_to_write + self.cache

    @property
    def step(self) -> int:
        """Bytes between the forward passes and the end of the backward pass."""
        of_loss = self.states + self.loss + self.head_gradient
        return self.always + self.gathered_to_score + self.kept + self.in_flight + of_loss

    @property
    def peak(self) -> int:
        """Largest number of bytes at any time."""
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
    """Compute the bytes that `DOPDModule` needs on each GPU, with AdamW and rollouts by transformers.

    Args:
        student: config of the student; its weights are float32, or bfloat16 with precision ``bf16-true``.
        teacher: config of the teacher; None without one.
        reference: config of the reference, or a kind made from the student: ``student``, ``snapshot``, ``ema`` or
            ``base``.
        sources: configs or kinds of further sources by name; each member of an ensemble is a source here.
        processes: number of GPUs on all nodes.
        strategy: ``ddp`` (also for one process) or ``fsdp``.
        precision: Lightning's ``32-true``, ``bf16-mixed`` or ``bf16-true``.
        teacher_dtype: dtype of all frozen models; always bfloat16 with precision ``bf16-true``.
        prompt_tokens, response_tokens: lengths in tokens, padding included; padding costs as much as other tokens.
        rollouts: number of rollouts of a process in a micro-batch.
        top_k: number of likeliest tokens that the sources' tables keep.
        loss_memory: MiB for logits, as in `DOPDModule`.
        activation_checkpointing: keep only the inputs of decoder layers, and recompute the rest in the backward pass.

    Raises:
        ConfigError: for an unknown strategy, precision or reference, a number below 1, or a model without named decoder
            layers.

    Example:
        >>> from transformers import Qwen3Config
        >>> small = Qwen3Config(vocab_size=64, hidden_size=8, intermediate_size=16, num_hidden_layers=1)
        >>> sizes = {"prompt_tokens": 8, "response_tokens": 8, "rollouts": 2}
        >>> one, four = (memory_per_gpu(small, small, processes=n, strategy="fsdp", **sizes) for n in (1, 4))
        >>> one.student, one.sources  # 132,760 parameters in float32, and in bfloat16
        (531040, {'teacher': 265520})
        >>> four.student, four.sources  # a quarter on each GPU
        (132760, {'teacher': 66380})
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
    """Return the sizes of the policy that a source scores with."""
    if isinstance(given, PreTrainedConfig):
        return Policy.of(given, dtype, batch)
    check_choice(name, given, ("student", "snapshot", "ema", "base"))
    return student
