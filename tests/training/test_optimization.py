"""Runs by Lightning: what moves, what stays, and the Trainer's own flags."""

from __future__ import annotations

import json
import warnings

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader
from transformers import get_linear_schedule_with_warmup

from dopd_lightning.data import collate
from dopd_lightning.errors import ConfigError
from dopd_lightning.fusion import DOPD, Teacher
from dopd_lightning.policies import Reference
from dopd_lightning.rollout import StudentRollout
from dopd_lightning.sources import Ensemble
from dopd_lightning.training.module import DOPDModule
from dopd_lightning.training.non_finite import NonFiniteLossError
from tests.training.steps import distance, sgd, weights


@pytest.mark.parametrize("kind", ["student", "snapshot", "ema", "model"])
def test_only_the_student_learns(make_module, make_policy, fit, examples, kind):
    module = make_module(reference=make_policy(2) if kind == "model" else kind)
    teacher, student = weights(module.teacher), weights(module.student)
    reference = weights(module.reference)
    trainer = fit(module, [examples] * 2)
    assert trainer.global_step == 2
    assert distance(student, weights(module.student)) > 0
    assert distance(teacher, weights(module.teacher)) == 0
    if kind in ("snapshot", "model"):
        assert distance(reference, weights(module.reference)) == 0
    for source in (module.teacher, module.reference):
        assert all(parameter.grad is None for parameter in source.parameters())
    held = {id(parameter) for group in trainer.optimizers[0].param_groups for parameter in group["params"]}
    assert held == {id(parameter) for parameter in module.student.parameters()}


class StudentWeights(L.Callback):
    """Keeps the student's weights after each batch."""

    def __init__(self):
        self.after = []

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        self.after.append(weights(module.student))


def test_the_average_follows_at_optimizer_steps_and_not_at_micro_batches(make_module, fit, examples):
    module = make_module(reference=Reference("ema", decay=0.75), optimizer=sgd)
    start, student = weights(module.student), StudentWeights()
    fit(module, [examples] * 4, accumulate_grad_batches=2, gradient_clip_val=1.0, callbacks=[student])
    _, first, between, second = student.after
    assert distance(start, first) > 0.1
    assert distance(first, between) == 0
    average = weights(module.reference.policy(module.student))
    for name in start:
        by_hand = 0.75 * (0.75 * start[name] + 0.25 * first[name]) + 0.25 * second[name]
        torch.testing.assert_close(average[name], by_hand)


def test_an_average_that_rounding_would_hold_still_is_refused(make_module, fit, examples):
    with pytest.raises(ConfigError, match=r"an 'ema' in torch\.bfloat16 does not move"):
        fit(make_module(reference="ema"), [examples], precision="bf16-true")


def test_the_trainer_clips_gradients(make_module, fit, examples):
    module = make_module(optimizer=sgd)
    start = weights(module.student)
    fit(module, [examples], gradient_clip_val=0.01)
    assert distance(start, weights(module.student)) == pytest.approx(0.01, rel=1e-2)


def test_gradients_flow_under_mixed_precision(make_module, fit, examples):
    module = make_module(rollout=StudentRollout(max_new_tokens=4, samples_per_prompt=1), optimizer=sgd)
    start = weights(module.student)
    fit(module, [examples], precision="bf16-mixed")
    unmoved = [name for name, after in weights(module.student).items() if torch.equal(after, start[name])]
    assert unmoved == []


def test_the_scheduler_steps_with_the_optimizer(make_module, fit, examples):
    def linear(*, optimizer, num_training_steps):
        return get_linear_schedule_with_warmup(optimizer, 0, num_training_steps)

    module = make_module(optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.5), scheduler=linear)
    trainer = fit(module, [examples] * 4, accumulate_grad_batches=2, max_steps=2, max_epochs=-1)
    assert trainer.optimizers[0].param_groups[0]["lr"] == 0
    assert trainer.global_step == 2


def test_a_step_is_logged(make_module, fit, examples):
    module = make_module()
    trainer = fit(module, [examples])
    metrics = trainer.logged_metrics
    assert metrics["train/loss"] > 0
    assert metrics["train/response/length"] == pytest.approx((2 + 8 + 1) / 3)
    assert metrics["train/response/cut_share"] == pytest.approx(1 / 3)
    assert sum(metrics[f"train/share/{regime}"] for regime in ("LH", "LL", "HT", "HS")) == pytest.approx(1)
    assert module.regime_counts.compute().sum() == 2 + 8 + 1


def test_a_loss_that_is_not_finite_stops_the_run_and_saves_the_prompts(
    make_module, make_policy, fit, examples, tmp_path
):
    module = make_module()

    def poison(*args):
        if module.global_step == 1:
            module.teacher.lm_head.weight.data.fill_(torch.nan)

    module.on_train_batch_start = poison
    with pytest.raises(NonFiniteLossError, match="of step 1 is not finite"):
        fit(module, [examples] * 3)
    saved = json.loads((tmp_path / "non_finite_loss_step_1.json").read_text())
    assert [row["prompt"] for row in saved] == [example["prompt"] for example in examples]
    assert [row["privileged"] for row in saved] == [example["privileged"] for example in examples]


def without_hints(examples):
    return [{"prompt": example["prompt"], "completion": "3"} for example in examples]


@pytest.mark.parametrize("reference", ["student", "ensemble"])
def test_no_privileged_text_for_the_student_as_its_own_reference_warns_once(
    make_module, make_policy, fit, examples, reference
):
    if reference == "ensemble":
        reference = Ensemble({"itself": "student", "other": make_policy(2)})
    module = make_module(reference=reference)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(module, [without_hints(examples)] * 3)
    ours = [warning for warning in caught if "no privileged text" in str(warning.message)]
    assert len(ours) == 1
    assert module.regime_counts.compute()[2:].sum() > 0, "the teacher still differs from the student"


@pytest.mark.parametrize("parts", [{"reference": "snapshot"}, {"fusion": Teacher()}])
def test_no_privileged_text_is_no_reason_to_warn_otherwise(make_module, examples, parts):
    make_module(**parts).training_step(without_hints(examples), 0)  # warnings are errors


@pytest.mark.parametrize("shape", ["text", "chat"])
@pytest.mark.parametrize("collate_fn", [None, collate, list], ids=["torch's", "ours", "none"])
def test_any_dataloader_will_do(make_module, make_trainer, tokenizer, shape, collate_fn):
    def prompt(text):
        return text if shape == "text" else [{"role": "system", "content": "Add."}, {"role": "user", "content": text}]

    dataset = [
        {"prompt": prompt(text), "privileged": "one by one", "answer": "3", "completion": "3"}
        for text in ("1 2", "1 1 1")
    ]
    module = make_module()
    make_trainer().fit(module, DataLoader(dataset, batch_size=2, collate_fn=collate_fn))
    expected = make_module().training_step(dataset, 0)["loss"]
    assert module.trainer.logged_metrics["train/loss"] == pytest.approx(expected.item(), rel=1e-5)


def test_student_teacher_and_tokenizer_are_enough(make_policy, make_trainer, tokenizer, examples):
    student = make_policy(0)
    student.generation_config.eos_token_id = list(range(3, len(tokenizer) - 20))  # most tokens end a response: be quick
    module = DOPDModule(student, make_policy(1), tokenizer=tokenizer)
    start = weights(module.student)
    make_trainer().fit(module, DataLoader(examples[:1], batch_size=1))
    assert distance(start, weights(module.student)) > 0
    assert module.fusion == DOPD()
    assert module.rollout == StudentRollout()
