"""Memory per GPU for the paper's pairs of models, computed and not measured.

    python -m benchmarks.memory

Configs are written out here, models are never made: it takes a minute on a CPU, and no GPU (`dopd_lightning.memory`).
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedConfig, Qwen3Config

from benchmarks.tables import publish, table
from dopd_lightning.memory import Memory, memory_per_gpu, number_of_parameters


def qwen3(width: int, layers: int, inner: int, heads: int, *, tied: bool) -> PreTrainedConfig:
    return Qwen3Config(
        hidden_size=width,
        num_hidden_layers=layers,
        intermediate_size=inner,
        num_attention_heads=heads,
        num_key_value_heads=8,
        head_dim=128,
        vocab_size=151_936,
        max_position_embeddings=40_960,
        tie_word_embeddings=tied,
    )


QWEN3 = {
    "0.6B": qwen3(1024, 28, 3072, 16, tied=True),
    "1.7B": qwen3(2048, 28, 6144, 16, tied=True),
    "4B": qwen3(2560, 36, 9728, 32, tied=True),
    "8B": qwen3(4096, 36, 12_288, 32, tied=False),
}

PAIRS = (("8B", "1.7B"), ("8B", "0.6B"), ("4B", "0.6B"), ("1.7B", "0.6B"), ("4B", "1.7B"))
"""Teacher and student; the reference is the student."""

GPUS, PROMPTS, ROLLOUTS, TOKENS = 8, 128, 4, 1024
"""Prompts of a step, rollouts of a prompt, and tokens of a prompt and of a response."""

SETTING: dict[str, Any] = {
    "processes": GPUS,
    "precision": "bf16-mixed",
    "rollouts": ROLLOUTS,
    "prompt_tokens": TOKENS,
    "response_tokens": TOKENS,
}

COLUMNS = {
    "DDP": {"strategy": "ddp"},
    "DDP, checkpointing": {"strategy": "ddp", "activation_checkpointing": True},
    "FSDP2": {"strategy": "fsdp"},
    "FSDP2, checkpointing": {"strategy": "fsdp", "activation_checkpointing": True},
}


def parts_of(memory: Memory) -> dict[str, int]:
    """Bytes by row of the table."""
    return {
        "student's weights": memory.student,
        "gradients": memory.gradients,
        "AdamW": memory.optimizer,
        "teacher's weights": memory.sources["teacher"],
        "DDP's buckets": memory.buckets,
        "rollout: weights gathered": memory.gathered_to_write,
        "rollout: KV cache": memory.cache,
        "step: weights gathered": memory.gathered_to_score,
        "step: kept for backward": memory.kept,
        "step: a layer in flight": memory.in_flight,
        "step: hidden states, tables": memory.states,
        "step: logits": memory.loss,
        "step: head's gradient": memory.head_gradient,
        "**during rollouts**": memory.rollout,
        "**during the step**": memory.step,
        "**during the update**": memory.always + memory.update,
    }


def parts_table(columns: Mapping[str, Memory]) -> str:
    """GiB by part, a column each way."""
    parts = [parts_of(memory) for memory in columns.values()]
    rows = [[name, *(gibibytes(column[name]) for column in parts)] for name in parts[0]]
    return table(["GiB on each GPU", *columns], rows)


def peaks_table(found: Mapping[str, Mapping[str, Memory]]) -> str:
    """The most at once, in GiB, a row each pair."""
    rows = [[pair, *(gibibytes(memory.peak) for memory in columns.values())] for pair, columns in found.items()]
    return table(["peak, GiB on each GPU", *COLUMNS], rows)


def gibibytes(number: int) -> str:
    return f"{number / 2**30:.1f}"


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one pair and few tokens, to see that it runs")
    parser.add_argument("--out", type=Path, help="a file to write the report to, besides printing it")
    options = parser.parse_args(argv)
    pairs = PAIRS[-2:-1] if options.quick else PAIRS
    setting = SETTING | ({"prompt_tokens": 8, "response_tokens": 8} if options.quick else {})
    found = {
        f"{teacher} → {student}": {
            name: memory_per_gpu(QWEN3[student], QWEN3[teacher], **setting, **how) for name, how in COLUMNS.items()
        }
        for teacher, student in pairs
    }
    counts = ", ".join(f"{name}: {number_of_parameters(config):,}" for name, config in QWEN3.items())
    first = next(iter(found))
    publish(
        [
            f"Qwen3, parameters of {counts}. A step has {PROMPTS} prompts with {ROLLOUTS} rollouts each, on {GPUS} "
            f"GPUs: micro-batches of 1 prompt, {PROMPTS // GPUS} of them accumulated. Prompts and responses have "
            f"{setting['prompt_tokens']:,} tokens each. Precision {setting['precision']}, the teacher in bfloat16, the "
            "student as reference.",
            peaks_table(found),
            f"By part, {first}:",
            parts_table(found[first]),
        ],
        options.out,
    )


if __name__ == "__main__":
    main()
