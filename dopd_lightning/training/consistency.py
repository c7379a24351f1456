"""Checks before the first step that the parts of a run fit together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import lightning as L
import torch
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy, ParallelStrategy
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from dopd_lightning.data import Example
from dopd_lightning.errors import ConfigError
from dopd_lightning.fusion import FusionRule
from dopd_lightning.policies import check_same_tokenizer, shared_vocabulary_size, tokenizer_of
from dopd_lightning.rollout import Rollout
from dopd_lightning.sources import Base, ByDomain, OnePolicy, RewardSource, Several, Snapshot, Source, Student

QUANTIZED_STUDENT = (
    "student.quantization: quantized weights cannot learn; load the student whole, or adapters on a base in bfloat16 "
    "(student=lora student.dtype=bfloat16); quantization is for sources"
)


def check_makers(optimizer: object, scheduler: object) -> None:
    """Refuse an optimizer or scheduler object: the module makes both, from the student's weights.

    Raises:
        ConfigError: naming the callable to give.
    """
    for name, made, wanted in (
        ("optimizer", optimizer, "a callable that makes one, parameters -> optimizer, such as adamw"),
        ("scheduler", scheduler, "a callable that makes one, (optimizer=…, num_training_steps=…) -> scheduler"),
    ):
        if made is not None and (isinstance(made, Optimizer | LRScheduler) or not callable(made)):
            raise ConfigError(f"{name}: {described(made)}; give {wanted}")


def described(thing: object) -> str:
    """Describe an object for an error."""
    if isinstance(thing, type):
        return f"{thing.__name__} is a class"
    return f"{thing!r} is a str" if isinstance(thing, str) else f"it is an object of {type(thing).__name__}"


def check_policies(
    policies: dict[str, PreTrainedModel],
    tokenizer: PreTrainedTokenizerBase,
    tokenizers: dict[str, PreTrainedTokenizerBase | str | None],
    shown: Mapping[str, float],
) -> tuple[int, dict[str, PreTrainedTokenizerBase]]:
    """Check that policies can be compared token by token, and that the settings suit them.

    Args:
        policies: policies with weights of their own, by role.
        tokenizer: tokenizer of the student.
        tokenizers: tokenizers that were given for other roles, by role.
        shown: probability that the student and each source see privileged text, by name.

    Returns:
        The number of real tokens that all policies share, and the tokenizers by role of the policies that have one.

    Raises:
        ConfigError: for parts that do not fit together.
    """
    found = {"student": tokenizer}
    for number, (role, policy) in enumerate(policies.items()):
        if not isinstance(policy, PreTrainedModel):  # such as peft's wrapper
            raise ConfigError(
                f"{role}: {type(policy).__name__} is not a transformers model; for adapters, load it with "
                "load_lora_policy, or put them inside the model with its own add_adapter(config)"
            )
        if role == "student" and getattr(policy, "hf_quantizer", None) is not None:
            raise ConfigError(QUANTIZED_STUDENT)
        for other in list(policies)[:number]:
            alike = shown[role.partition(".")[0]] == shown[other.partition(".")[0]]
            _check_two_models(role, policy, other, policies[other], alike)
        if role != "student" and (tokenizers.get(role) is not None or policy.name_or_path):
            # A model built in memory has no tokenizer: only vocabulary sizes can be compared.
            found[role] = tokenizer_of(policy, tokenizers.get(role))
            check_same_tokenizer(tokenizer, found[role], role)
    size = shared_vocabulary_size(tokenizer, {role: policy.config for role, policy in policies.items()})
    return size, found


def _check_two_models(
    role: str, policy: PreTrainedModel, other: str, other_policy: PreTrainedModel, alike: bool
) -> None:
    """Refuse one object in two roles, and two sources with the same weights and the same prompts: their gap would be 0.

    A source with the student's initial weights is allowed, since the student's weights change.
    """
    if "student" in (role, other):
        if policy is other_policy:
            raise ConfigError(
                f"{role}: it is the same model object as the {other}, so there is nothing to compare; load it "
                "twice, or choose another model (for the student as its own reference: reference='student')"
            )
        return
    origins = [(model.name_or_path, getattr(model.config, "_commit_hash", None)) for model in (policy, other_policy)]
    if alike and (policy is other_policy or (policy.name_or_path and origins[0] == origins[1])):
        raise ConfigError(
            f"{role}: it is the same model as the {other} ({policy.name_or_path or 'one object'}), so their gap "
            "is 0 at every token; choose another model, show privileged text to one of the two only, or choose a "
            "source of another kind"
        )
    if policy is other_policy:
        raise ConfigError(f"{role}: it is the same model object as the {other}; load it twice")


def check_shared_weights(student: PreTrainedModel, sources: Mapping[str, Source]) -> None:
    """Refuse a source that shares trainable weights with the student; called before sources are attached.

    Raises:
        ConfigError: naming the source and a shared weight; if no weight of the student is trainable.
    """
    names = {id(weight): name for name, weight in student.named_parameters()}
    for role, source in sources.items():
        models = [model for model in source.given if model is not student]  # _check_two_models refuses this
        weights = [weight for model in models for weight in model.parameters() if weight.requires_grad]
        shared = [names[id(weight)] for weight in weights if id(weight) in names]
        if shared:
            more = f" and {len(shared) - 1} more" if shared[1:] else ""
            raise ConfigError(
                f"{role}: it shares weights with the student ({shared[0]}{more}), which would be frozen with the "
                f"source and not learn; load the {role} separately, or freeze these weights in both before"
            )
    if not any(weight.requires_grad for weight in student.parameters()):
        raise ConfigError(
            "student: all of its weights are frozen (requires_grad=False), so nothing would learn; unfreeze some"
        )


def check_writers(sources: Mapping[str, Source], rollout: Rollout) -> None:
    """Refuse a source with several policies as the writer of responses.

    Raises:
        ConfigError: naming the source.
    """
    for name in sorted(rollout.writers - {"student"}):
        source = sources.get(name)  # Plan refuses a missing source
        if source is not None and not isinstance(source, OnePolicy):
            raise ConfigError(
                f"rollout: the {name} would write the responses, but it has several policies "
                f"({type(source).__name__}); only one can write: choose rollout=student, or another {name}"
            )


def check_kinds(sources: Mapping[str, Source], fusion: FusionRule) -> None:
    """Refuse a source of rewards where the rule needs distributions, and the reverse.

    Raises:
        ConfigError: naming the source.
    """
    rewards: frozenset[str] = getattr(fusion, "rewards", frozenset())
    for name in sorted(fusion.needs & sources.keys()):
        given = isinstance(sources[name], RewardSource)
        if given and name not in rewards:
            raise ConfigError(
                f"{name}: it gives rewards, but the fusion rule needs distributions; choose a source that is a policy"
            )
        if not given and name in rewards:
            raise ConfigError(
                f"{name}: it gives distributions, but the fusion rule needs rewards; choose a source such as outcome"
            )


def check_domains_of(sources: Mapping[str, Source], fusion: FusionRule) -> None:
    """Refuse ``scale_domains`` for a source without domains.

    Raises:
        ConfigError: naming the setting and the source.
    """
    if not getattr(fusion, "scale_domains", False):
        return
    for name in fusion.needs:
        if not isinstance(sources.get(name), ByDomain):
            raise ConfigError(
                f"fusion.scale_domains: the {name} has no domains; choose {name}=by_domain, or scale_domains=false"
            )


def check_bases(student: PreTrainedModel, sources: Mapping[str, Source]) -> None:
    """Refuse a snapshot together with the student's base: with new adapters, both are the same policy.

    Raises:
        ConfigError: naming both.
    """
    own = {*student.parameters()}
    bases = [name for name, source in sources.items() if isinstance(source, Base) or _shares(source, own)]
    for name, source in sources.items():
        if bases and type(source) is Snapshot:
            raise ConfigError(
                f"{name}: a snapshot is the student before training, and the {bases[0]}, its base, is the same policy, "
                "so their gap is 0 at every token; replace one of the two"
            )


def _shares(source: Source, weights: set[nn.Parameter]) -> bool:
    return any(weight in weights for model in source.given for weight in model.parameters())


def check_trainer(trainer: L.Trainer, reduction: str, sources: Mapping[str, Source]) -> None:
    """Refuse flags of the Trainer that would silently change the method.

    Raises:
        ConfigError: for ``token`` reduction under gradient accumulation, a moving average in low precision, a strategy
            that shards without FSDP2, or a strategy that gives several processes the same data.
    """
    strategy = trainer.strategy
    if isinstance(strategy, FSDPStrategy | DeepSpeedStrategy):
        raise ConfigError(
            f"trainer.strategy: {type(strategy).__name__} is not supported, since its shards are not those of FSDP2; "
            "use strategy=fsdp (dopd_lightning.distributed.sharding.FullyShardedStrategy)"
        )
    replicas = strategy.distributed_sampler_kwargs["num_replicas"] if isinstance(strategy, ParallelStrategy) else 1
    if replicas != trainer.world_size:
        raise ConfigError(
            f"trainer.strategy: {type(strategy).__name__} counts {trainer.world_size} processes as {replicas} (its "
            "data_parallel_size), but each process reads its own examples: gradients would not be averaged; use "
            "strategy=fsdp (dopd_lightning.distributed.sharding.FullyShardedStrategy), or strategy=ddp"
        )
    changes = [each for each in trainer.callbacks if isinstance(each, GradientAccumulationScheduler)]  # type: ignore[attr-defined]
    accumulate = max([trainer.accumulate_grad_batches, *(max(each.scheduling.values()) for each in changes)])
    check_reduction(reduction, accumulate)
    for name, source in sources.items():
        for weight in source.averages:
            check_average(weight.dtype, name)


def check_reduction(reduction: str, accumulate_grad_batches: int) -> None:
    """Refuse ``token`` reduction under gradient accumulation.

    Raises:
        ConfigError: naming both settings.
    """
    if reduction == "token" and accumulate_grad_batches > 1:
        raise ConfigError(
            f"reduction: 'token' with accumulate_grad_batches={accumulate_grad_batches} would be a mean of the "
            "micro-batches' means; use reduction='rollout', or larger batches without accumulation"
        )


def check_average(dtype: torch.dtype, name: str) -> None:
    """Refuse a moving average of the student in low precision.

    Raises:
        ConfigError: for any but float32.
    """
    if dtype != torch.float32:
        raise ConfigError(
            f"{name}: an 'ema' in {dtype} does not move, since its small steps are rounded away; use "
            "precision bf16-mixed or 32-true, or another source"
        )


@torch.no_grad()
def check_dtype_of_weights(optimizers: Sequence[Optimizer]) -> None:
    """Refuse weights in float16, and warn about weights in bfloat16 whose updates would be rounded away.

    In float16, small gradients become 0, and so does Adam's epsilon, by which it divides. In bfloat16, a step that is
    small relative to a weight is rounded away. Steps of Adam-like optimizers have the size of the learning rate; those
    of SGD are mostly smaller.

    Raises:
        ConfigError: for weights in float16.
    """
    for group in (group for optimizer in optimizers for group in optimizer.param_groups):
        rate = float(group.get("initial_lr", group["lr"]))
        still = total = 0
        for weight in group["params"]:
            if weight.dtype == torch.float16:
                raise ConfigError(
                    "student.dtype: weights in float16 cannot learn, since small gradients become 0; keep them in "
                    "float32 (student.dtype=float32, precision=16-mixed or bf16-mixed), or train adapters "
                    "(student=lora)"
                )
            if weight.dtype == torch.bfloat16:
                here = weight.to_local() if isinstance(weight, DTensor) else weight
                still += int((here.abs() * (torch.finfo(weight.dtype).eps / 4) > rate).sum())
                total += here.numel()
        if still > total / 2:
            rank_zero_warn(
                f"the student's weights are in bfloat16: for {still / total:.0%} of them, a step of the learning rate "
                f"{rate:g} is rounded away, so the student will hardly learn. Keep the weights in "
                "float32 (student.dtype=float32, precision=bf16-mixed), or train adapters (student=lora)"
            )
            return


def check_same_parameters(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    """Refuse a checkpoint of other models.

    Raises:
        ConfigError: naming a parameter that is missing, foreign or of another shape.
    """
    for name in [*expected, *found]:
        here, there = (tuple(state[name].shape) if name in state else "missing" for state in (expected, found))
        if here != there:
            raise ConfigError(
                f"ckpt_path: the checkpoint is of another student or source: {name} is {there} in the "
                f"checkpoint and {here} in this run; use the student, the sources and the settings it was trained with"
            )


def warn_without_privileged_text(
    examples: Sequence[Example], sources: Mapping[str, Source], fusion: FusionRule
) -> bool:
    """Warn if a batch has no privileged text and a source is the student itself; return whether it warned."""
    own = [name for name, source in sources.items() if name in fusion.needs and _is_student(source)]
    if not examples or not own or any(example.get("privileged") for example in examples):
        return False
    rank_zero_warn(
        f"a batch has no privileged text, so the {own[0]} is the student with the student's own prompt, and the gap is "
        "not the paper's. Add `privileged` to the data, or choose another source (snapshot, ema, a model)."
    )
    return True


def _is_student(source: Source) -> bool:
    if isinstance(source, Several):
        return any(_is_student(member) for _, member in source.items())
    return isinstance(source, Student)
