"""The run whose checkpoints version fe62a7b left in three ways: two steps, with a moving average as the reference."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import lightning as L
import torch

from dopd_lightning import DOPDModule
from dopd_lightning.data import DOPDDataModule
from dopd_lightning.distributed.sharding import FullyShardedStrategy
from dopd_lightning.fusion import DOPD
from dopd_lightning.policies import new_policy, new_tokenizer
from dopd_lightning.rollout import DatasetRollout
from dopd_lightning.training.checkpoint_file import WholeCheckpointIO
from tests.conftest import TEXTS
from tests.distributed.training import whole

FILES = Path(__file__).parent / "fe62a7b"
ARCHITECTURE = {
    "model_type": "qwen3",
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "max_position_embeddings": 128,
    "initializer_range": 0.2,
    "tie_word_embeddings": True,
}
EXAMPLES = [
    {
        "prompt": f"Add {n} 2." + " step" * (n % 3),
        "privileged": f"first {n}",
        "answer": n + 2,
        "completion": f"{n + 2} " * (1 + n % 4),
    }
    for n in range(8)
]


class Loaded(L.Callback):
    """Notes what training goes on from."""

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if not hasattr(self, "student"):
            self.step = trainer.global_step
            self.student = whole(pl_module.student.state_dict())
            self.reference = whole(pl_module.reference.weights.state_dict())


def adamw(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=3e-3)


def go_on(strategy: str, path: str) -> dict[str, Any]:
    """Go on from a checkpoint to the fourth step; say from what, and what the run ended with."""
    L.seed_everything(0, verbose=False)
    tokenizer = new_tokenizer(TEXTS, vocabulary_size=264)
    module = DOPDModule(
        new_policy(ARCHITECTURE, tokenizer, seed=0),
        new_policy(ARCHITECTURE, tokenizer, seed=1),
        "ema",
        tokenizer=tokenizer,
        fusion=DOPD(top_k=8),
        rollout=DatasetRollout(max_new_tokens=6),
        optimizer=adamw,
    )
    processes, loaded = int(os.environ.get("TEST_PROCESSES", "1")), Loaded()
    trainer = L.Trainer(
        accelerator="cpu",
        devices=processes,
        strategy=FullyShardedStrategy() if strategy == "fsdp" else strategy,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        max_epochs=-1,
        max_steps=4,
        plugins=[WholeCheckpointIO()],
        callbacks=[loaded],
    )
    data = DOPDDataModule(train=EXAMPLES, batch_size=4 // processes, seed=4)
    trainer.fit(module, datamodule=data, ckpt_path=path, weights_only=True)
    return {
        "step": loaded.step,
        "student": loaded.student,
        "reference": loaded.reference,
        "ended": whole(module.student.state_dict()),
        "steps": trainer.global_step,
        "regimes": module.regime_counts.counts,
    }
