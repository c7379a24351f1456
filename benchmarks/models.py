"""The models, prompts and module that the benchmarks of a step share."""

from __future__ import annotations

import logging
import random
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from tempfile import gettempdir
from typing import Any

import lightning as L
from tokenizers import Tokenizer, models, pre_tokenizers
from torch.utils.data import DataLoader
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from dopd_lightning import DOPDModule
from dopd_lightning.data import Example, PromptFormat, collate
from dopd_lightning.fusion import FusionRule
from dopd_lightning.policies import new_policy
from dopd_lightning.rollout import Sampling, StudentRollout, TransformersEngine
from dopd_lightning.rollout.engine import Written
from dopd_lightning.training.optimizer import adamw

LEARNING_RATE = 1e-6
CLIP = 1.0


@dataclass(frozen=True, kw_only=True)
class Size:
    """Size of a step; policies are ``(layers, width)``, lengths are in tokens."""

    student: tuple[int, int] = (4, 256)
    teacher: tuple[int, int] = (8, 512)
    vocabulary: int = 32_000
    batch: int = 8
    prompt: int = 64
    privileged: int = 32
    response: int = 64

    def __str__(self) -> str:
        student, teacher = ("{} x {}".format(*policy) for policy in (self.student, self.teacher))
        return (
            f"Student {student}, teacher {teacher} (layers x width), {self.vocabulary:,} tokens; {self.batch} prompts "
            f"of {self.prompt} tokens, {self.response} new tokens each, privileged text of {self.privileged}"
        )


FULL = Size()
QUICK = Size(student=(1, 32), teacher=(1, 32), vocabulary=300, batch=2, prompt=8, privileged=4, response=4)


def tokenizer_of(size: Size) -> PreTrainedTokenizerBase:
    """A word a token; the last one is end-of-sequence, so that a vocabulary one token shorter is one without it."""
    words = ["<pad>", "<unk>", *(f"w{n}" for n in range(size.vocabulary - 3)), "<eos>"]
    word_level = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="<unk>"))
    word_level.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=word_level, padding_side="left", **special)  # type: ignore[no-untyped-call]


def policies_of(size: Size, tokenizer: PreTrainedTokenizerBase) -> tuple[PreTrainedModel, PreTrainedModel]:
    """Student and teacher: Qwen3, random float32 weights, the same at each call."""

    def policy(layers: int, width: int, seed: int) -> PreTrainedModel:
        architecture = {
            "model_type": "qwen3",
            "hidden_size": width,
            "intermediate_size": 3 * width,
            "num_hidden_layers": layers,
            "num_attention_heads": max(width // 64, 1),
            "num_key_value_heads": max(width // 128, 1),
            "head_dim": min(width, 64),
            "max_position_embeddings": size.prompt + size.privileged + size.response,
            "tie_word_embeddings": True,
        }
        return new_policy(architecture, tokenizer, seed=seed)

    return policy(*size.student, seed=0), policy(*size.teacher, seed=1)


def examples_of(size: Size, steps: int, *, privileged: bool) -> list[Example]:
    """Enough for ``steps`` batches: random words, as many in each prompt."""
    draw = random.Random(0)

    def words(count: int) -> str:
        return " ".join(f"w{draw.randrange(size.vocabulary - 3)}" for _ in range(count))

    count = steps * size.batch
    hints = [words(size.privileged) if privileged else None for _ in range(count)]
    return [{"prompt": words(size.prompt), "privileged": hint} for hint in hints]


class FullLengthEngine(TransformersEngine):
    """Every response has ``max_new_tokens``: end-of-sequence, the last token, counts as padding of the vocabulary."""

    def generate(
        self, policy: PreTrainedModel, prompts: Any, sampling: Sampling, *, vocabulary_size: int, **options: Any
    ) -> Written:
        """Generate, and check the lengths."""
        written = super().generate(policy, prompts, sampling, vocabulary_size=vocabulary_size - 1, **options)
        lengths = {len(response) for response in written.ids}
        assert lengths == {sampling.max_new_tokens}, f"found responses of {lengths} tokens"
        return written


def module_of(size: Size, fusion: FusionRule, scheduler: Callable[..., Any] | None = None) -> DOPDModule:
    """A module of its own student and teacher; the reference is the student."""
    tokenizer = tokenizer_of(size)
    student, teacher = policies_of(size, tokenizer)
    return DOPDModule(
        student,
        teacher,
        fusion=fusion,
        rollout=StudentRollout(samples_per_prompt=1, max_new_tokens=size.response),
        engine=FullLengthEngine(),
        prompt_format=PromptFormat(privileged_text="{prompt} {privileged}"),
        tokenizer=tokenizer,
        optimizer=partial(adamw, lr=LEARNING_RATE),
        scheduler=scheduler,
    )


def loader_of(size: Size, steps: int, *, privileged: bool) -> DataLoader[Example]:
    """Return a loader of one batch a step."""
    examples = examples_of(size, steps, privileged=privileged)
    return DataLoader(examples, batch_size=size.batch, collate_fn=collate)  # type: ignore[arg-type]


def trainer_of(steps: int, *callbacks: L.Callback) -> L.Trainer:
    """Lightning's Trainer, on the CPU, clipping gradients, with all that only talks or saves switched off."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message="You defined a `validation_step` but have no `val_dataloader`")
    warnings.filterwarnings("ignore", message="The 'train_dataloader' does not have many workers")
    return L.Trainer(
        accelerator="cpu",
        max_steps=steps,
        gradient_clip_val=CLIP,
        callbacks=list(callbacks),
        default_root_dir=gettempdir(),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
