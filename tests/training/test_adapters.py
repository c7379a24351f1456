"""A student with adapters, and sources that share its base: as with whole models, without their copies."""

from __future__ import annotations

import copy

import pytest
import torch

from dopd_lightning.errors import ConfigError
from dopd_lightning.policies import Reference, base_of, load_lora_policy, load_policy
from dopd_lightning.rollout import DatasetRollout, StudentRollout, TeacherRollout

KINDS = ["snapshot", "teacher", "ema"]


@pytest.fixture
def make(make_module, models):
    """A module whose source of this kind shares the student's base, or has all its weights for itself."""

    def make(kind, shares, rollout=None):
        student = load_lora_policy(models / "student", r=2)
        parts = {"rollout": rollout or StudentRollout(max_new_tokens=8)}
        if kind == "teacher":
            return make_module(student, base_of(student) if shares else load_policy(models / "student"), **parts)
        if kind == "snapshot":
            return make_module(student, reference="snapshot" if shares else load_policy(models / "student"), **parts)
        module = make_module(student, reference=Reference("ema", decay=0.5), **parts)
        if not shares:
            module.reference.weights = copy.deepcopy(module.reference.weights)
        return module

    return make


def adapters(module):
    return {name: weight for name, weight in module.student.named_parameters() if weight.requires_grad}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rollout", [StudentRollout, TeacherRollout])
def test_loss_gradient_and_student_are_those_with_a_whole_copy(make, fit, examples, kind, rollout):
    losses, gradients, ends = [], [], []
    for shares in (True, False):
        module = make(kind, shares, rollout(max_new_tokens=8))
        torch.manual_seed(0)
        loss = module.training_step(examples, 0)["loss"]
        loss.backward()
        losses.append(loss.detach())
        gradients.append({name: weight.grad for name, weight in adapters(module).items()})
        torch.manual_seed(1)
        fit(module, [examples] * 3)
        ends.append({name: weight.detach() for name, weight in adapters(module).items()})
    assert losses[0] > 0
    torch.testing.assert_close(losses[0], losses[1])
    torch.testing.assert_close(gradients[0], gradients[1])
    torch.testing.assert_close(ends[0], ends[1])
    assert any(weight.any() for name, weight in ends[0].items() if "lora_B" in name), "it has learned"


@pytest.mark.parametrize("kind", KINDS)
def test_there_is_no_second_copy_and_the_student_learns_all_the_same(make, fit, examples, kind):
    module = make(kind, shares=True)
    fit(module, [examples])
    whole = {*module.teacher.parameters()} if kind != "teacher" else set()
    besides = {*module.parameters()} - {*module.student.parameters()} - whole
    learnt = sum(weight.numel() for weight in adapters(module).values())
    assert sum(weight.numel() for weight in besides) == (0 if kind == "teacher" else learnt)
    assert all(weight.requires_grad for name, weight in module.student.named_parameters() if "lora_" in name)
    assert module.train().student.training


def test_the_base_answers_as_a_teacher(make, examples, models):
    module, whole = make("teacher", shares=True), make("teacher", shares=False)
    with torch.no_grad():
        for weight in adapters(module).values():
            weight += 0.5
    with module.answering_as("teacher"), whole.answering_as("teacher"):
        expected = whole.answer(examples)
        assert module.answer(examples) == expected
    assert module.answer(examples) != expected, "the adapters are heard in the student alone"


def test_of_an_average_only_adapters_are_in_a_checkpoint_and_a_run_goes_on_from_it(make, fit, examples, tmp_path):
    def of():
        return make("ema", shares=True, rollout=DatasetRollout(max_new_tokens=8))

    whole, path = of(), tmp_path / "run.ckpt"
    torch.manual_seed(0)
    fit(whole, [examples], max_epochs=2)

    torch.manual_seed(0)
    fit(of(), [examples]).save_checkpoint(path)
    names = torch.load(path, weights_only=True)["state_dict"]
    assert {name.split(".")[0] for name in names} == {"student", "sources"}
    assert all("lora_" in name for name in names)
    resumed = of()
    fit(resumed, [examples], ckpt_path=path, max_epochs=2)
    torch.testing.assert_close(resumed.reference.state_dict(), whole.reference.state_dict())
    assert any(weight.any() for name, weight in whole.reference.named_parameters() if "lora_B" in name)


def test_an_average_of_adapters_moves_over_a_base_in_bfloat16(make_module, models, fit, examples):
    student = load_lora_policy(models / "student", r=2, dtype="bfloat16")
    module = make_module(student, reference=Reference("ema", decay=0.5))
    assert {weight.dtype for weight in module.reference.averages} == {torch.float32}
    fit(module, [examples])
    moved = {name for name, weight in module.reference.named_parameters() if "lora_B" in name and weight.any()}
    assert moved != set()


def test_what_is_shared_stays_so_when_the_module_moves(make_module, models):
    student = load_lora_policy(models / "student", r=2)
    module = make_module(student, base_of(student), Reference("ema")).to(torch.float64)
    for source in (module.teacher, module.reference.policy(student)):
        assert source.lm_head.weight is student.lm_head.weight
        assert source.lm_head.weight.dtype == torch.float64


def test_the_base_as_teacher_beside_a_snapshot_of_the_same_is_refused(make_module, models):
    student = load_lora_policy(models / "student", r=2)
    with pytest.raises(ConfigError, match="reference: a snapshot is the student before training"):
        make_module(student, base_of(student), "snapshot")
