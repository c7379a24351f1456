"""A rule that is a module: its weights and means are saved, resumed, averaged, and left alone by whoever only looks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dopd_lightning.errors import ConfigError
from dopd_lightning.rollout import DatasetRollout
from tests.distributed.together import together
from tests.distributed.training import Case, examples, own_rule, train

ROOT = Path(__file__).parents[2]


@pytest.fixture
def make(make_module):
    return lambda: make_module(fusion=own_rule(), rollout=DatasetRollout(max_new_tokens=8))


def test_it_is_resumed_bit_by_bit(make, fit, tmp_path):
    batches = [examples(8)[:4], examples(8)[4:]]
    whole = make()
    fit(whole, batches, max_epochs=2)
    fit(make(), batches).save_checkpoint(tmp_path / "run.ckpt")
    resumed = make()
    fit(resumed, batches, ckpt_path=tmp_path / "run.ckpt", max_epochs=2)
    assert resumed.fusion.mean.equal(whole.fusion.mean)
    assert whole.fusion.mean > 0
    torch.testing.assert_close(resumed.state_dict(), whole.state_dict(), rtol=0, atol=0)


def test_who_only_looks_leaves_it_as_it_was(make):
    module = make()
    module.training_step(examples(4), 0)
    before = module.fusion.mean.clone()
    module.observe(examples(2), alternatives=2)
    assert module.fusion.mean.equal(before)
    assert before > 0


def test_its_means_keep_their_precision(make):
    module = make().to(torch.bfloat16)
    assert module.fusion.mean.dtype == torch.float32
    assert module.student.dtype == torch.bfloat16


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_processes_share_it(strategy):
    case = Case(batches=[examples(8)[:4], examples(8)[4:]], fusion=own_rule(), strategy=strategy)
    first, second = together(2, train, case)
    assert first["fusion"]["mean"].equal(second["fusion"]["mean"])
    (alone,) = together(1, train, Case(batches=case.batches, fusion=own_rule()))
    torch.testing.assert_close(first["fusion"]["mean"], alone["fusion"]["mean"])


def test_one_without_needs_is_refused(make_module):
    with pytest.raises(ConfigError, match="without the attribute 'needs'"):
        make_module(fusion=torch.nn.Identity())


def test_the_command_of_the_documentation_runs_it(models, lines, tmp_path):
    """The command runs as a process, from its own folder and with its own configuration."""
    command = [
        *(sys.executable, "-m", "dopd_lightning", "--config-dir", "examples/own_rule/conf", "fusion=running_gap"),
        *(f"student.name={models}/student", f"teacher.name={models}/teacher", f"data.train.path={lines}"),
        *("data.batch_size=2", "rollout.max_new_tokens=4", "trainer.accelerator=cpu", "trainer.max_steps=2"),
        f"paths.runs={tmp_path}",
    ]
    environment = os.environ | {"PYTHONPATH": "examples/own_rule", "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    (checkpoint,) = tmp_path.rglob("step=2.ckpt")
    assert torch.load(checkpoint, weights_only=True)["state_dict"]["fusion.mean"] > 0
