from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader

from dopd_lightning.callbacks import Speed, speed
from dopd_lightning.fusion import DOPD
from dopd_lightning.rollout import StudentRollout
from dopd_lightning.training.module import DOPDModule


@pytest.fixture(params=[1, 2])
def metrics(request, make_policy, tokenizer, tmp_path, monkeypatch):
    """Metrics of one step of 10 s, of which writing 12 tokens took 4; or of two such micro-batches in one."""
    clock = iter([100.0, 110.0, 150.0, 160.0])
    monkeypatch.setattr(speed, "_now", lambda device: next(clock))
    rollout = StudentRollout(max_new_tokens=3, samples_per_prompt=4)
    module = DOPDModule(make_policy(0), make_policy(1), fusion=DOPD(top_k=8), rollout=rollout, tokenizer=tokenizer)
    module.eos_ids[:] = [10**6]  # no response ends before its limit
    real_step = module.training_step

    def step(batch, batch_idx):
        outputs = real_step(batch, batch_idx)
        return outputs | {"record": replace(outputs["record"], rollout_seconds=4.0)}

    monkeypatch.setattr(module, "training_step", step)
    trainer = L.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
        max_steps=1,
        accumulate_grad_batches=request.param,
        callbacks=[Speed()],
    )
    loader = DataLoader([{"prompt": "Add 1.", "privileged": "1"}] * 2, batch_size=None, generator=torch.Generator())
    trainer.fit(module, loader)
    return {name: value.item() for name, value in trainer.callback_metrics.items()}


def test_rates_are_of_response_tokens(metrics):
    assert metrics["train/tokens_per_second"] == pytest.approx(12 / 10)
    assert metrics["train/tokens_per_second/rollout"] == pytest.approx(12 / 4)
    assert metrics["train/tokens_per_second/learning"] == pytest.approx(12 / 6)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_is_the_process_s_in_gib(metrics):
    status = Path("/proc/self/status").read_text()
    (resident,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    assert metrics["train/peak_memory"] == pytest.approx(int(resident.split()[1]) / 2**20, rel=0.05)
