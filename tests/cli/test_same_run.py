"""Settings that a resumed run may change, and those that it may not."""

from __future__ import annotations

import inspect
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from omegaconf import DictConfig

from dopd_lightning import optimizer
from dopd_lightning.cli import resolvers
from dopd_lightning.cli.same_run import check_same_run, kept
from dopd_lightning.errors import ConfigError

DATASET = ["fusion=data", "rollout=dataset"]


def hold(saved: dict[str, Any], now: DictConfig, batch_size: int = 2, accumulated: int = 1, processes: int = 1) -> None:
    """Hold a run to a checkpoint with this configuration, of two prompts a step."""
    trainer: Any = SimpleNamespace(world_size=processes, accumulate_grad_batches=accumulated)
    data: Any = SimpleNamespace(batch_size=batch_size)
    check_same_run({"config": saved, "prompts_a_step": 2}, now, trainer, data)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ([], ["fusion.top_k=4"], "fusion.top_k: 4, but the checkpoint's run had 8; go on with what it had, or begin a"),
        ([], ["optimizer.lr=0.1"], "optimizer.lr: 0.1, but the checkpoint's run had 5e-06"),
        (["reference=ema"], ["reference=ema", "reference.decay=0.5"], "reference.decay: 0.5, but the checkpoint's run"),
        ([], ["fusion=teacher"], "fusion._target_: .*, but the checkpoint's run had 'dopd_lightning.fusion.DOPD'"),
        ([], ["++prompt_format.chat_template_kwargs.enable_thinking=false"], "prompt_format.chat_template_kwargs"),
        (
            ["teacher=none", *DATASET],
            DATASET,
            "teacher._target_: 'dopd_lightning.*', but the checkpoint's run had None",
        ),
        ([], ["trainer.gradient_clip_val=2"], "trainer.gradient_clip_val: 2, but the checkpoint's run had 1.0"),
        ([], ["data.train.path=other.jsonl"], "data.train.path: 'other.jsonl', but the checkpoint's run had "),
    ],
)
def test_what_decides_what_is_learned_may_not(configured, before, after, message):
    with pytest.raises(ConfigError, match=message):
        hold(kept(configured(*before)), configured(*after))


SERVER = "engine=vllm_server"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([], ["optimizer.lr=5e-6", "fusion.beta_weak=0.3"]),
        ([], ["paths.output_dir=elsewhere", "paths.runs=/other/disk", "name=other", "runs=runs/*", "objective=null"]),
        ([], ["callbacks.checkpoint.keep=1", "logger=none", "trainer.max_steps=9", "trainer.accelerator=cpu"]),
        ([], ["data.val.path=other.jsonl", "data.eval_batch_size=3", "privileged.evaluation=true"]),
        ([SERVER], [SERVER, "paths.output_dir=elsewhere", "engine.url=http://other:8000"]),
        ([SERVER], [SERVER, "engine.weights=/dev/shm/weights"]),
        (["student.name=${paths.runs}/a/student"], ["student.name=${paths.runs}/a/student", "paths.runs=/moved"]),
    ],
)
def test_how_long_where_and_how_watched_may_change(configured, before, after):
    hold(kept(configured(*before)), configured(*after))
    hold(kept(configured(*after)), configured(*before))


def test_how_many_prompts_make_a_step_may_not_change(configured):
    saved = kept(configured())
    hold(saved, configured(), batch_size=1, accumulated=2)
    hold(saved, configured(), batch_size=1, processes=2)
    with pytest.raises(
        ConfigError, match=r"data.batch_size: 1 on 2 process\(es\), .* makes 8 prompts a step, .* had 2"
    ):
        hold(saved, configured(), batch_size=1, accumulated=4, processes=2)


def test_the_models_of_the_package_are_the_same_where_it_is_installed_elsewhere(configured, monkeypatch):
    quickstart = ["student=quickstart", "student.name=${asset:quickstart_student}"]
    saved = kept(configured(*quickstart))
    assert saved["student"]["name"] == "${asset:quickstart_student}"
    monkeypatch.setattr(resolvers, "files", lambda package: Path("/another/environment") / package)
    now = configured(*quickstart)
    assert now.student.name.startswith("/another/environment/")
    hold(saved, now)


def test_a_default_that_is_another_in_this_version_is_noticed(configured, monkeypatch):
    saved = kept(configured())
    monkeypatch.setattr(resolvers, "_signature", inspect.signature)  # not that of before
    monkeypatch.setattr(optimizer.adamw, "__defaults__", (1e-5, *optimizer.adamw.__defaults__[1:]))
    with pytest.raises(ConfigError, match=r"optimizer.lr: 1e-05, but the checkpoint's run had 5e-06"):
        hold(saved, configured())


def test_a_key_that_a_checkpoint_lacks_had_its_default(configured):
    saved = kept(configured())
    del saved["optimizer"]["lr"], saved["module"], saved["student"]["dtype"]
    hold(saved, configured())
    with pytest.raises(ConfigError, match=r"optimizer.lr: 0.1, but the checkpoint's run had 5e-06"):
        hold(saved, configured("optimizer.lr=0.1"))
