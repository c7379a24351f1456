"""A step that never holds whole logits equals one that does."""

from __future__ import annotations

import dataclasses
from contextlib import nullcontext

import pytest
import torch
from torch import nn

from dopd_lightning.divergence import loss_of
from dopd_lightning.errors import ConfigError
from dopd_lightning.fusion import DOPD, Data, EntropyAware, Importance, Mixture, Teacher

FALLBACK = "the student's output head is more than a linear layer"
ARCHITECTURES = {
    "untied": {"tie_word_embeddings": False},
    "padded vocabulary": {"vocab_size": 320},
    "softcap": {"model_type": "gemma2", "final_logit_softcapping": 4.0},
    "scale": {"model_type": "granite", "logits_scaling": 4.0},
    "learned positions": {
        "model_type": "gpt2",
        "n_embd": 32,
        "n_layer": 1,
        "n_head": 2,
        "n_positions": 128,
        **dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0),
    },
}


class Unreadable(nn.Linear):
    """A linear layer that could be more than that."""


def make_unreadable(student):
    head = Unreadable(student.config.hidden_size, student.config.vocab_size, bias=False)
    head.weight = student.lm_head.weight
    student.lm_head = head


@pytest.fixture
def both(make_module, make_policy, examples):
    """A step by states and one by logits, which warns; each with the gradients of every parameter by name."""

    def run(architecture=None, *, autocast=False, dtype=torch.float32, **parts):
        steps = []
        for readable in (True, False):
            student, teacher = (make_policy(seed, **architecture or {}).to(dtype) for seed in (0, 1))
            if not readable:
                make_unreadable(student)
            module = make_module(student, teacher, **parts)
            said = nullcontext() if readable else pytest.warns(UserWarning, match=FALLBACK)
            with said, torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                step = module.training_step(examples, 0)
            step["loss"].backward()
            gradients = {name: parameter.grad for name, parameter in module.student.named_parameters()}
            assert all(parameter.grad is None for parameter in module.teacher.parameters())
            steps.append((step["loss"].detach(), step["record"], gradients))
        return steps

    return run


def assert_equal(steps, rtol=1e-3, atol=1e-5):
    (loss, record, gradients), (expected_loss, expected_record, expected_gradients) = steps
    torch.testing.assert_close(loss, expected_loss, rtol=rtol, atol=atol)
    for field in dataclasses.fields(record):
        found, expected = getattr(record, field.name), getattr(expected_record, field.name)
        assert (found is None) == (expected is None)
        if isinstance(found, torch.Tensor):
            torch.testing.assert_close(found, expected, rtol=rtol, atol=100 * atol, msg=field.name)
            assert not found.requires_grad
    assert gradients.keys() == expected_gradients.keys()
    for name, expected in expected_gradients.items():
        assert expected.any()
        torch.testing.assert_close(gradients[name], expected, rtol=rtol, atol=atol, msg=name)


RULES = {
    "DOPD": DOPD(top_k=8),
    "DOPD, renormalized": DOPD(top_k=8, top_k_of="student", tail="renormalize"),
    "Teacher": Teacher(),
    "Teacher, top_k": Teacher(support="top_k", top_k=8),
    "Mixture": Mixture(),
    "EntropyAware": EntropyAware(),
    "Importance": Importance(),
    "Data": Data(),
}


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("fusion", RULES.values(), ids=RULES)
def test_loss_record_and_every_gradient_are_the_same(both, fusion, temperature):
    assert_equal(both(fusion=fusion, loss_temperature=temperature))


@pytest.mark.parametrize("reduction", ["rollout", "token"])
def test_with_either_reduction(both, reduction):
    assert_equal(both(reduction=reduction))


@pytest.mark.parametrize("architecture", ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_with_other_architectures(both, architecture):
    assert_equal(both(architecture))


@pytest.mark.parametrize("reference", ["snapshot", "ema"])
def test_with_other_references(both, reference):
    assert_equal(both(reference=reference))


@pytest.mark.parametrize("precision", [{"autocast": True}, {"dtype": torch.bfloat16}], ids=["bf16-mixed", "bf16-true"])
@pytest.mark.parametrize("rule", ["DOPD", "Teacher", "Teacher, top_k", "Mixture"])
def test_in_16_bits_both_are_as_near_as_those_allow(both, rule, precision):
    (loss, record, gradients), (expected_loss, expected_record, expected_gradients) = both(
        fusion=RULES[rule], **precision
    )
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, expected_loss, rtol=2e-2, atol=0)
    torch.testing.assert_close(record.student_logp, expected_record.student_logp, rtol=2e-2, atol=5e-2)
    for name, expected in expected_gradients.items():
        assert gradients[name].dtype == expected.dtype
        assert (gradients[name] - expected).norm() < 0.1 * expected.norm(), name


def test_the_fallback_is_said_once(make_module, make_policy, examples):
    student = make_policy(0)
    make_unreadable(student)
    module = make_module(student)
    with pytest.warns(UserWarning, match=FALLBACK) as warnings:
        module.training_step(examples, 0)
    assert len(warnings) == 1
    module.training_step(examples, 0)  # a warning would be an error


def test_a_run_of_several_steps_goes_the_same_way(make_module, make_policy, examples, fit):
    weights = []
    for readable in (True, False):
        student = make_policy(0)
        if not readable:
            make_unreadable(student)
        module = make_module(student)
        with nullcontext() if readable else pytest.warns(UserWarning, match=FALLBACK):
            fit(module, [examples] * 3)
        weights.append({name: parameter.detach() for name, parameter in module.student.named_parameters()})
    for name, expected in weights[1].items():
        torch.testing.assert_close(weights[0][name], expected, rtol=1e-3, atol=1e-4, msg=name)


def test_settings_and_the_rules_tables_reach_the_scores(make_module, examples, monkeypatch):
    scores = {}
    monkeypatch.setattr(
        "dopd_lightning.training.objective.loss_of",
        lambda student, sources, *rest: scores.update(student=student, **sources) or loss_of(student, sources, *rest),
    )
    make_module(fusion=DOPD(top_k=8), loss_temperature=0.7, loss_memory=3).training_step(examples, 0)
    assert {role: each.top_k for role, each in scores.items()} == {"student": 0, "teacher": 8, "reference": 8}
    assert {(each.temperature, each.memory) for each in scores.values()} == {(0.7, 3)}


class TestLossMemory:
    @pytest.mark.parametrize("fusion", [RULES["DOPD"], RULES["Mixture"]], ids=["DOPD", "Mixture"])
    def test_a_tiny_one_gives_the_same(self, make_module, examples, fusion):
        steps = []
        for loss_memory in (1e-6, 64):
            module = make_module(fusion=fusion, loss_memory=loss_memory)
            step = module.training_step(examples, 0)
            step["loss"].backward()
            gradients = {name: parameter.grad for name, parameter in module.student.named_parameters()}
            steps.append((step["loss"].detach(), step["record"], gradients))
        assert_equal(steps)

    @pytest.mark.parametrize("value", [0, -1.0])
    def test_none_is_refused_by_name(self, make_module, value):
        with pytest.raises(ConfigError, match=f"loss_memory: {value} must be above 0"):
            make_module(loss_memory=value)
