"""The student's weights: finite, its own, and able to move."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dopd_lightning.callbacks import save_student
from dopd_lightning.errors import ConfigError
from dopd_lightning.fusion import DOPD, Teacher
from dopd_lightning.policies import Reference, base_of, load_lora_policy
from dopd_lightning.rollout import StudentRollout
from dopd_lightning.training.non_finite import NonFiniteLossError
from dopd_lightning.training.optimizer import adamw


def spoil(module, name="model.norm.weight"):
    with torch.no_grad():
        module.student.get_parameter(name)[0] = float("nan")


NOT_FINITE = r"the student's weights are not finite {} \(model\.norm\.weight\)"


def test_weights_that_are_not_finite_are_named_before_anything_is_sampled(make_module, examples):
    module = make_module(fusion=Teacher(), rollout=StudentRollout(max_new_tokens=4))
    module.training_step(examples, 0)
    spoil(module)
    with pytest.raises(NonFiniteLossError, match=NOT_FINITE.format("before step 0")):
        module.training_step(examples, 0)


def test_a_step_that_leaves_them_not_finite_is_the_last(make_module, fit, examples):
    class Spoils(torch.optim.SGD):
        steps = 0

        def step(self, closure=None):
            super().step(closure)
            if self.steps == 1:
                spoil(module)
            self.steps += 1

    module = make_module(optimizer=lambda weights: Spoils(weights, lr=1e-3))
    with pytest.raises(NonFiniteLossError, match=NOT_FINITE.format("after step 1")):
        fit(module, [examples] * 3)


def test_a_learning_rate_that_blows_weights_up_ends_the_run(make_module, fit, examples):
    module = make_module(optimizer=lambda weights: adamw(weights, lr=1e30))
    with pytest.raises(NonFiniteLossError, match=r"are not finite after step \d"):
        fit(module, [examples] * 3)


def test_they_are_not_exported(make_module, tmp_path):
    module = make_module()
    spoil(module)
    with pytest.raises(NonFiniteLossError, match=NOT_FINITE.format("at the export")):
        save_student(module, tmp_path / "student")
    assert not (tmp_path / "student").exists()


def test_a_student_that_its_learning_rate_does_not_move_is_told_so(make_module, make_policy, fit, examples):
    module = make_module(make_policy(0).bfloat16())
    words = r"weights are in bfloat16: for \d+% of them.* learning rate 5e-06 .*student\.dtype=float32"
    with pytest.warns(UserWarning, match=words):
        fit(module, [examples])


def test_a_student_in_float16_is_refused(make_module, make_policy, fit, examples):
    with pytest.raises(ConfigError, match=r"student\.dtype: weights in float16 cannot learn"):
        fit(make_module(make_policy(0).half()), [examples])


def test_true_low_precision_is_told_so_too(make_module, fit, examples):
    with pytest.warns(UserWarning, match="weights are in bfloat16"):
        fit(make_module(), [examples], precision="bf16-true")


@pytest.mark.parametrize(
    "optimizer", [lambda weights: torch.optim.SGD(weights, lr=0.1), lambda weights: adamw(weights, lr=0.01)]
)
def test_a_learning_rate_that_moves_weights_in_bfloat16_is_no_harm(make_module, make_policy, fit, examples, optimizer):
    fit(make_module(make_policy(0).bfloat16(), optimizer=optimizer), [examples])


def test_adapters_in_float32_are_no_harm(make_module, models, fit, examples):
    fit(make_module(load_lora_policy(models / "student", r=2, dtype="bfloat16")), [examples])


@pytest.mark.parametrize("role", ["teacher", "reference", "given"])
def test_weights_that_a_source_shares_are_not_frozen_without_a_word(make_module, make_policy, role):
    student, source = make_policy(0), make_policy(1)
    source.model.embed_tokens = student.model.embed_tokens
    sources = {"reference": Reference("model", source)} if role == "given" else {role: source}
    with pytest.raises(ConfigError, match=r"it shares weights with the student \(model\.embed_tokens\.weight\)"):
        make_module(student, **sources)


def test_a_base_shares_weights_that_do_not_learn(make_module, models):
    student = load_lora_policy(models / "student", r=2)
    make_module(student, base_of(student))


def test_a_student_of_which_nothing_learns(make_module, make_policy):
    with pytest.raises(ConfigError, match="student: all of its weights are frozen"):
        make_module(make_policy(0).requires_grad_(False))


class NoNeeds:
    def __call__(self, statistics):
        raise NotImplementedError


MISTAKES = {
    "fusion: DOPD is a class; give an object such as DOPD": {"fusion": DOPD},
    "fusion: 'dopd' is a str; give an object": {"fusion": "dopd"},
    "fusion: it is an object of NoNeeds, without the attribute 'needs'": {"fusion": NoNeeds()},
    "rollout: StudentRollout is a class; give": {"rollout": StudentRollout},
    "optimizer: it is an object of SGD; give a callable": {"optimizer": torch.optim.SGD([nn.Parameter(torch.ones(1))])},
    "optimizer: 'adamw' is a str; give a callable": {"optimizer": "adamw"},
    "scheduler: it is an object of ConstantLR; give a callable": {
        "scheduler": torch.optim.lr_scheduler.ConstantLR(torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=1))
    },
}


@pytest.mark.parametrize(("words", "parts"), MISTAKES.items(), ids=MISTAKES)
def test_a_part_of_the_wrong_kind_is_a_sentence(make_module, words, parts):
    with pytest.raises(ConfigError, match=f"^{words}"):
        make_module(**parts)
