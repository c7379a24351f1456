"""Processes of their own for tests, as copies of one that has imported what takes seconds to import."""

from __future__ import annotations

import multiprocessing

context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(
    [
        "dopd_lightning.cli.main",
        "tests.distributed.training",
        "peft",
        "torch._dynamo",
        "torch.distributed.tensor.experimental",
        "transformers.models.qwen3.modeling_qwen3",
        "transformers.optimization",
    ]
)
