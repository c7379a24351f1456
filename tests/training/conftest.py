"""Modules of tiny policies, and runs of a few steps."""

from __future__ import annotations

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader

from dopd_lightning.fusion import DOPD
from dopd_lightning.rollout import DatasetRollout
from dopd_lightning.training.module import DOPDModule


@pytest.fixture(scope="session")
def examples():
    """Prompts, hints and completions, all of different lengths."""
    return [
        {"prompt": "Add 1 2.", "privileged": "first 1, then 2", "completion": "3", "answer": "3"},
        {"prompt": "Add the numbers 12 34 56.", "privileged": "12 + 34", "completion": "<answer>102</answer> it is"},
        {"prompt": "3?", "privileged": "Add 1 and 2, then step by step the others.", "completion": ""},
    ]


@pytest.fixture
def make_module(make_policy, tokenizer):
    """Student and teacher of different seeds, static completions, a small top-K; anything may be replaced."""

    def make(student=None, teacher=None, reference="student", **parts):
        parts = {"fusion": DOPD(top_k=8), "rollout": DatasetRollout(max_new_tokens=8), "tokenizer": tokenizer} | parts
        student = make_policy(0) if student is None else student
        return DOPDModule(student, make_policy(1) if teacher is None else teacher, reference, **parts)

    return make


@pytest.fixture
def make_trainer(tmp_path):
    """A quiet Trainer on the CPU."""

    def make(**options):
        quiet = {
            "accelerator": "cpu",
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "default_root_dir": tmp_path,
            "max_epochs": 1,
        }
        return L.Trainer(**quiet | options)

    return make


@pytest.fixture
def fit(make_trainer):
    """Train on batches as they are, and return the Trainer."""

    def run(module, batches, *, ckpt_path=None, **options):
        trainer = make_trainer(**options)
        loader = DataLoader(batches, batch_size=None, generator=torch.Generator())
        trainer.fit(module, loader, ckpt_path=ckpt_path, weights_only=True)
        return trainer

    return run
