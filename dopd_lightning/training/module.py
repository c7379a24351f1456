"""Lightning module of the method."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Self, cast

import lightning as L
import torch
from torch import nn
from torch.optim import Optimizer
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from dopd_lightning.data import Example, PromptFormat, Verifier, examples_of, get_verifier
from dopd_lightning.distributed.processes import failing_together, number_of_processes
from dopd_lightning.distributed.sharding import is_sharded, shard
from dopd_lightning.divergence import Reduction
from dopd_lightning.errors import DataError
from dopd_lightning.fusion import DOPD, FusionRule, Thresholds
from dopd_lightning.inputs import Encoder, TextEncoder
from dopd_lightning.policies import checkpoint_activations, load_policy, tokenizer_of
from dopd_lightning.record import TokenRecord
from dopd_lightning.record.metrics import Accuracy, RegimeCounts
from dopd_lightning.record.names import accuracy_name
from dopd_lightning.rollout import (
    Engine,
    Rollout,
    StudentRollout,
    TransformersEngine,
)
from dopd_lightning.rollout.ends import find_ends
from dopd_lightning.scores import LOSS_MEMORY
from dopd_lightning.scores.scoring import Scoring
from dopd_lightning.sources import (
    AnySource,
    OnePolicy,
    Source,
    given_policies,
    keeping_dtype,
    named_sources,
    policies_of,
    sources_of,
)
from dopd_lightning.training.checkpoint_contents import Resuming, leave_out_of_state_dict
from dopd_lightning.training.consistency import (
    check_bases,
    check_domains_of,
    check_dtype_of_weights,
    check_kinds,
    check_makers,
    check_policies,
    check_shared_weights,
    check_trainer,
    check_writers,
    warn_without_privileged_text,
)
from dopd_lightning.training.evaluation import Evaluation
from dopd_lightning.training.non_finite import NonFiniteLossError, check_finite, check_weights
from dopd_lightning.training.objective import Objective
from dopd_lightning.training.optimizer import adamw
from dopd_lightning.training.plan import Plan
from dopd_lightning.training.privileged import PrivilegedAccess
from dopd_lightning.training.probes import Probes
from dopd_lightning.training.prompting import Prompting
from dopd_lightning.training.response_writer import ResponseWriter
from dopd_lightning.training.scheduler import scheduler_over
from dopd_lightning.training.step import Step
from dopd_lightning.training.step_log import StepLog


class DOPDModule(L.LightningModule):
    """Dual on-policy distillation: a student learns from a teacher and a reference, on its own responses.

    Args:
        student: trainable policy, as a model or by name.
        teacher: source of this name: a frozen policy of the student's family, as a model or by name, the name of a kind
            (``student``, ``snapshot``, ``ema``, ``base``), or any :class:`~dopd_lightning.sources.Source`. ``None`` if
            neither the fusion rule nor the rollout needs one.
        reference: source of this name, in the same ways.
        fusion: decides token by token which source teaches, with which divergence and weight; by default the paper's
            rule.
        rollout: decides which policy writes responses; by default the student.
        engine: writes the student's responses, in training and evaluation: transformers by default, or vLLM.
        prompt_format: renders prompts and privileged text.
        privileged: access of policies to privileged text.
        sources: further sources by name, in the same ways.
        tokenizer: of the student, as an object or by name; found by the student's name if not given.
        teacher_tokenizer: compared with the student's; found by the teacher's name if not given.
        reference_tokenizer: likewise, if the reference is a model of its own.
        optimizer: parameters -> optimizer.
        scheduler: ``(optimizer=…, num_training_steps=…)`` -> scheduler, stepped after each optimizer step.
        reduction: ``rollout`` (the paper's: a mean over each rollout's tokens, then over rollouts) or ``token``.
        loss_temperature: divides all logits in the divergences. It is not the sampling temperature.
        loss_memory: MiB for logits in the loss, which computes as many tokens at once as fit.
        activation_checkpointing: recompute the student's layers in the backward pass instead of keeping their
            activations: less memory for about a third more work.
        verifier: scores answers in validation: a name or a callable ``(response, example) -> float``.

    A batch is a dataloader's collation of dicts with ``prompt`` (text or chat messages) and, optionally,
    ``privileged``, ``answer`` and ``completion``. ``training_step`` returns the loss and, for callbacks, the ``record``
    (:class:`~dopd_lightning.record.TokenRecord`).

    Raises:
        ConfigError: for parts that do not fit together: a missing source, different tokenizers, ``top_k`` above the
            vocabulary, more new tokens than positions.
    """

    def __init__(
        self,
        student: PreTrainedModel | str | os.PathLike[str],
        teacher: AnySource | None = None,
        reference: AnySource = "student",
        *,
        sources: Mapping[str, AnySource] | None = None,
        fusion: FusionRule | None = None,
        rollout: Rollout | None = None,
        engine: Engine | None = None,
        prompt_format: PromptFormat | None = None,
        privileged: PrivilegedAccess | None = None,
        tokenizer: PreTrainedTokenizerBase | str | None = None,
        teacher_tokenizer: PreTrainedTokenizerBase | str | None = None,
        reference_tokenizer: PreTrainedTokenizerBase | str | None = None,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer] = adamw,
        scheduler: Callable[..., Any] | None = None,
        reduction: Reduction = "rollout",
        loss_temperature: float = 1.0,
        loss_memory: float = LOSS_MEMORY,
        activation_checkpointing: bool = False,
        verifier: str | Verifier = "exact",
    ) -> None:
        super().__init__()
        self.fusion = fusion if fusion is not None else DOPD()
        self.rollout = rollout if rollout is not None else StudentRollout()
        self.engine = engine if engine is not None else TransformersEngine()
        self.prompt_format = prompt_format if prompt_format is not None else PromptFormat()
        self.privileged = privileged if privileged is not None else PrivilegedAccess()
        named = named_sources(teacher, reference, sources or {})
        plan = Plan(
            fusion=self.fusion,
            rollout=self.rollout,
            engine=self.engine,
            sources=tuple(named),
            reduction=reduction,
            loss_temperature=loss_temperature,
            loss_memory=loss_memory,
            verifier=verifier,
        )
        self.reduction = reduction
        check_makers(optimizer, scheduler)
        self._make_optimizer = optimizer
        self._make_scheduler = scheduler

        if isinstance(self.fusion, nn.Module):
            self.fusion.requires_grad_(False)  # the loss gives it no gradient, and DDP would wait for one
        self.student = load_policy(student) if isinstance(student, str | os.PathLike) else student
        self._sources = sources_of(named)
        self.sources = nn.ModuleDict(self._sources)
        check_writers(self._sources, self.rollout)
        check_kinds(self._sources, self.fusion)
        check_domains_of(self._sources, self.fusion)
        check_shared_weights(self.student, self._sources)
        self.tokenizer = tokenizer_of(self.student, tokenizer)
        policies = {"student": self.student, **given_policies(self._sources)}
        tokenizers = {"teacher": teacher_tokenizer, "reference": reference_tokenizer}
        shown = self.privileged.shown({name: source.shown for name, source in self._sources.items()})
        self.vocabulary_size, found = check_policies(policies, self.tokenizer, tokenizers, shown)
        plan.check_top_k(self.tokenizer)
        check_bases(self.student, {name: self._sources[name] for name in sorted(self.fusion.needs)})
        room = plan.room_for_prompt({name: policy.config for name, policy in policies.items()})
        self.prompt_limit = min(self.prompt_format.max_tokens, room)
        for source in self._sources.values():  # after all checks: a refused model stays as it was given
            source.attach(self.student)
            source.requires_grad_(False)  # also those of a user's own class: DDP would wait for a gradient
        if activation_checkpointing:
            checkpoint_activations(self.student)

        self.ends = find_ends(policies, found, self.prompt_format, self.vocabulary_size)
        self.eos_ids = self.ends.ids
        pad = self.tokenizer.pad_token_id
        self.pad_id: int = pad if pad is not None else self.eos_ids[0]
        reason = (
            f"prompt_format.max_tokens={self.prompt_format.max_tokens}, and the policies' positions must hold "
            f"rollout.max_new_tokens={self.rollout.sampling.max_new_tokens} more"
        )
        self.encoder: Encoder = TextEncoder(self.prompt_format, self.tokenizer, self.pad_id, self.prompt_limit, reason)
        self._prompting = Prompting(self.encoder, self.privileged, self._sources)
        probes = Probes(self.tokenizer, self.vocabulary_size, room + self.rollout.sampling.max_new_tokens)
        self._writing = ResponseWriter(
            self.student,
            self.engine,
            probes,
            eos_ids=self.eos_ids,
            pad_id=self.pad_id,
            vocabulary_size=self.vocabulary_size,
        )
        scoring = Scoring(self.vocabulary_size, loss_temperature, loss_memory)
        self._step = Step(
            self._sources,
            self.rollout,
            self._prompting,
            self._writing,
            Objective(self.fusion, scoring, reduction, self.eos_ids, plan.check_pairs),
            self.ends,
            self.prompt_format,
            self.tokenizer,
        )
        limit = self.rollout.sampling.max_new_tokens
        self._log_step = StepLog(limit)
        self._evaluation = Evaluation(
            self._writing,
            self._sources,
            self.encoder,
            self.tokenizer,
            get_verifier(verifier),
            limit,
            self.privileged.evaluation,
        )
        self.accuracies = nn.ModuleDict()  # one a dataloader, made on first use
        self.regime_counts = RegimeCounts()
        self._resuming = Resuming(self.regime_counts, self._prompting)
        leave_out_of_state_dict(self, self.student, self._sources, self._student_changed)
        self._is_finite = False
        self._details: tuple[int, int | None] | None = None
        self._warned = False
        self._micro_batches = 0  # of the current step
        self.train()

    @property
    def teacher(self) -> PreTrainedModel | None:
        """Policy of the source of this name; None if it is missing or has several policies."""
        source = self._sources.get("teacher")
        return source.policy(self.student) if isinstance(source, OnePolicy) else None

    @property
    def reference(self) -> Source:
        """Source of this name."""
        return self._sources["reference"]

    # ------------------------------------------------------------------------------------------------ training

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        """Roll out, score under each policy's view, fuse, and reduce to the loss (paper's total objective)."""
        with failing_together((DataError,), self.device):
            examples = examples_of(batch)
            if not examples and number_of_processes() == 1:
                raise DataError("batch: there is no example in it; only one of several processes may have none")
        self._warned = self._warned or warn_without_privileged_text(examples, self._sources, self.fusion)
        if self._trainer is not None and batch_idx % self.trainer.accumulate_grad_batches == 0:
            # Lightning zeroes the gradient here: discard the metrics of an interrupted step, too.
            self._log_step.begin()
            self._micro_batches = 0
        if not self._is_finite:
            check_weights(self.student.named_parameters(), f"before step {self.global_step}")
            self._is_finite = self._trainer is not None  # a bare loop does not say when the student changes
        details, self._details = self._details, None
        loss, record = self._step(examples, details, synchronise=self._trainer is None)
        folder = self.trainer.default_root_dir if self._trainer is not None else "."
        with failing_together((NonFiniteLossError,), self.device):
            check_finite(loss, record, self.global_step, examples, folder)
        if record.regimes is not None:
            self.regime_counts.update(record.regimes)
        if self._trainer is not None:  # a bare loop has no logger
            self._log_step(self, loss.detach(), record)
        return {"loss": loss, "record": record}

    def detail_next(self, alternatives: int, prompts: int | None = None) -> None:
        """Have the next training step's record hold the details of the first response to each of its first prompts.

        Args:
            alternatives: number of each policy's likeliest tokens.
            prompts: number of prompts; all if not given.
        """
        self._details = alternatives, prompts

    def observe(
        self, examples: Sequence[Example], alternatives: int, thresholds: Thresholds | None = None
    ) -> TokenRecord:
        """Return the record of one response of the student to each example, as training would make it; learn nothing.

        Under several processes all have to call it.

        Args:
            examples: as in a batch.
            alternatives: number of each policy's likeliest tokens in the details.
            thresholds: of a rule that routes, such as a training step's; means over these responses if not given.
        """
        return self._step.observe(examples, alternatives, thresholds, synchronise=self._trainer is None)

    def check_examples(self, examples: Sequence[Example]) -> None:
        """Refuse examples that a source which the rule uses cannot score.

        Raises:
            DataError: naming the example.
        """
        self._step.check(examples)

    # ---------------------------------------------------------------------------------------------- evaluation

    def answer(self, examples: Sequence[Example]) -> list[str]:
        """Return greedy answers by the student or, inside :meth:`answering_as`, by another policy.

        Prompts are bare unless ``privileged.evaluation`` is set.
        """
        return self._evaluation.answer(examples, synchronise=self._trainer is None)

    def answering_as(self, role: str) -> AbstractContextManager[None]:
        """Validate and test another policy inside the block: ``student``, or a source that is one policy.

        Raises:
            ConfigError: if there is no such source, or it is made of several policies.
        """
        return self._evaluation.by(role)

    def on_validation_start(self) -> None:
        """Push the student's weights in all processes at once, since one of them may have no batch."""
        if self._evaluation.of_student:
            self._writing.synchronise()

    on_test_start = on_predict_start = on_validation_start

    def on_validation_epoch_start(self) -> None:
        self._evaluation.gather()

    on_test_epoch_start = on_predict_epoch_start = on_validation_epoch_start

    def on_validation_epoch_end(self) -> None:
        self._evaluation.let_go()

    on_test_epoch_end = on_predict_epoch_end = on_validation_epoch_end

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self._evaluate(batch, "val", dataloader_idx)

    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self._evaluate(batch, "test", dataloader_idx)

    def _evaluate(self, batch: Any, stage: str, dataloader_idx: int) -> None:
        """Log ``<stage>/accuracy``; with several dataloaders, Lightning appends their indices."""
        key = f"{stage}_{dataloader_idx}"
        if key not in self.accuracies:
            self.accuracies[key] = Accuracy().to(self.device)
        accuracy = cast(Accuracy, self.accuracies[key])
        answered = self._evaluation.count(batch, accuracy, synchronise=self._trainer is None)
        self.log(
            accuracy_name(stage),
            accuracy,
            on_step=False,
            on_epoch=True,
            prog_bar=True,
            batch_size=answered,
            metric_attribute=f"accuracies.{key}",
        )

    def predict_step(self, batch: Any, batch_idx: int) -> list[dict[str, Any]]:
        """Return the batch's prompts with the student's answers."""
        return self._evaluation.predict(batch, synchronise=self._trainer is None)

    # ---------------------------------------------------------------------------------------------- checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._resuming.save(checkpoint, self.device)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Check that the checkpoint belongs to these models.

        Raises:
            ConfigError: naming a parameter that is missing, foreign or of another shape.
        """
        self._resuming.load(checkpoint, self)
        self._student_changed()

    def on_train_start(self) -> None:
        self._resuming.begin(self.trainer)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self._resuming.begin_batch(self.trainer, self.device)

    def _student_changed(self) -> None:
        self._writing.behind = True

    # ------------------------------------------------------------------------------------- modes and optimization

    def configure_model(self) -> None:
        """Shard every policy over the processes, if the strategy is FSDP2."""
        mesh = self.device_mesh
        if mesh is None:
            return
        self.strict_loading = False  # frozen sources are not in checkpoints; on_load_checkpoint checks the rest
        for policy in (self.student, *policies_of(self._sources, self.student).values()):
            if not is_sharded(policy):
                shard(policy, mesh["data_parallel"])

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Move and convert. Frozen models and the fusion rule keep their dtype.

        (``precision=bf16-true`` would convert all. A snapshot or average has the student's dtype.)
        """
        device, *_ = torch._C._nn._parse_to(*args, **kwargs)
        kept: list[tuple[nn.Module, str, nn.Module]] = [*keeping_dtype(self.sources)]
        kept += [(self, "fusion", self.fusion)] if isinstance(self.fusion, nn.Module) else []
        for owner, name, _ in kept:
            owner._modules[name] = nn.Module()  # a placeholder keeps the order of modules
        try:
            super().to(*args, **kwargs)
        finally:
            for owner, name, module in kept:
                owner._modules[name] = module.to(device=device)
        return self

    def train(self, mode: bool = True) -> DOPDModule:
        """Set the student's mode; sources always stay in eval mode."""
        super().train(mode)
        self.sources.eval()
        return self

    def on_fit_start(self) -> None:
        check_trainer(self.trainer, self.reduction, self._sources)
        check_dtype_of_weights(self.trainer.optimizers)
        self._is_finite = False
        # from_pretrained returns eval mode, and fit does not call train(). Sources are in eval mode on purpose.
        self.train()
        warnings.filterwarnings("ignore", message=r"Found \d+ module\(s\) in eval mode")
        if self.global_rank > 0:  # all processes have the same seed, and would sample the same
            torch.manual_seed(torch.initial_seed() + self.global_rank)
        self._prompting.seed(torch.initial_seed())

    def configure_optimizers(self) -> Any:
        optimizer = self._make_optimizer([p for p in self.student.parameters() if p.requires_grad])
        if self._make_scheduler is None:
            return optimizer
        scheduler = scheduler_over(self.trainer, self._make_scheduler, optimizer)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_after_backward(self) -> None:
        """Rescale the gradient of a step with fewer micro-batches, so that it is their mean.

        Lightning divides every loss by ``accumulate_grad_batches``, also at the end of an epoch, where fewer are left.
        """
        if self._trainer is None:
            return
        self._micro_batches += 1
        if self.trainer.fit_loop._should_accumulate():
            return
        share, self._micro_batches = self.trainer.accumulate_grad_batches / self._micro_batches, 0
        if share != 1:
            gradients = [weight.grad for weight in self.student.parameters() if weight.grad is not None]
            torch._foreach_mul_(gradients, share)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        learned = ((name, weight) for name, weight in self.student.named_parameters() if weight.requires_grad)
        check_weights(learned, f"after step {self.global_step}")
        self._student_changed()
        for source in self._sources.values():
            source.update(self.student)
