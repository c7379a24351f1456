"""The peer: the same step by TRL's trainer."""

from __future__ import annotations

import os
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

from benchmarks.contenders import LOSS, Contender
from benchmarks.models import CLIP, LEARNING_RATE, Size, examples_of, policies_of, tokenizer_of
from benchmarks.parts import Parts, watching


def trl(size: Size) -> Contender:
    """TRL's ``DistillationTrainer`` with its own defaults, but float32 without gradient checkpointing, as ours.

    Its divergence, ``beta=1``, is reverse KL over the full vocabulary: the default of `Teacher`, too.

    Raises:
        ImportError: if it is not installed.
    """
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    from datasets import Dataset
    from transformers import PrinterCallback, TrainerCallback
    from trl import DistillationConfig, DistillationTrainer

    class Watch(TrainerCallback):
        def __init__(self, parts: Parts) -> None:
            self.parts = parts

        def on_step_end(self, *_: Any, **__: Any) -> None:
            self.parts.end_step()

    tokenizer = tokenizer_of(size)
    student, teacher = policies_of(size, tokenizer)

    def run(steps: int, parts: Parts) -> None:
        with TemporaryDirectory() as folder:
            trainer = DistillationTrainer(
                model=student,
                teacher_model=teacher,
                processing_class=tokenizer,
                train_dataset=Dataset.from_list(
                    [{"prompt": example["prompt"]} for example in examples_of(size, steps, privileged=False)]
                ),
                callbacks=[Watch(parts)],
                args=DistillationConfig(
                    output_dir=folder,
                    max_steps=steps,
                    per_device_train_batch_size=size.batch,
                    learning_rate=LEARNING_RATE,
                    max_grad_norm=CLIP,
                    max_completion_length=size.response,
                    generation_kwargs={"suppress_tokens": [tokenizer.eos_token_id]},
                    bf16=False,
                    gradient_checkpointing=False,
                    use_cpu=True,
                    logging_strategy="no",
                    save_strategy="no",
                    report_to="none",
                    disable_tqdm=True,
                ),
            )
            trainer.remove_callback(PrinterCallback)
            with watching(parts, student, teacher) as stack:
                stack.enter_context(patch.object(trainer, "compute_loss", parts.timed(LOSS, trainer.compute_loss)))
                trainer.train()
            shortest = trainer.state.log_history[-1]["completions/min_length"]
            assert shortest == size.response, f"responses are to have {size.response} tokens, found {shortest}"

    return Contender("TRL DistillationTrainer", run)
