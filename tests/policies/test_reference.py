"""The four kinds of reference."""

from __future__ import annotations

import pytest
import torch

from dopd_lightning.errors import ConfigError
from dopd_lightning.policies import Reference, as_reference


def shift(policy, by):
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter += by


def weights(policy):
    return [parameter.detach().clone() for parameter in policy.parameters()]


def assert_same(policy, expected):
    torch.testing.assert_close(weights(policy), expected)


def test_the_student_is_its_own_reference_and_holds_no_weights(make_policy):
    student, reference = make_policy(), Reference("student")
    reference.attach(student)
    assert reference.policy(student) is student
    assert list(reference.parameters()) == []
    assert all(parameter.requires_grad for parameter in student.parameters())
    assert not reference.learns


def test_a_snapshot_stays(make_policy):
    student, reference = make_policy(), Reference("snapshot")
    before = weights(student)
    reference.attach(student)
    shift(student, 1.0)
    reference.update(student)
    assert_same(reference.policy(student), before)
    assert not reference.learns


def test_an_average_begins_at_the_initial_student_and_follows_by_its_decay(make_policy):
    student, reference = make_policy(), Reference("ema", decay=0.75)
    start = weights(student)
    reference.attach(student)
    assert_same(reference.policy(student), start)
    shift(student, 1.0)  # the student is at 1: 0.75 · 0 + 0.25 · 1
    reference.update(student)
    assert_same(reference.policy(student), [weight + 0.25 for weight in start])
    shift(student, 1.0)  # at 2: 0.75 · 0.25 + 0.25 · 2
    reference.update(student)
    assert_same(reference.policy(student), [weight + 0.6875 for weight in start])
    assert reference.learns


def test_another_model_is_frozen(make_policy):
    student, other = make_policy(0), make_policy(1).train()
    reference = Reference("model", other)
    reference.attach(student)
    assert reference.policy(student) is other
    assert not other.training
    assert not any(parameter.requires_grad for parameter in other.parameters())


@pytest.mark.parametrize("kind", ["snapshot", "ema"])
def test_what_is_frozen_of_the_student_is_shared_and_what_learns_is_not(make_policy, kind):
    student, reference = make_policy(), Reference(kind, decay=0.75)
    student.model.layers[0].requires_grad_(False)
    start = dict(zip([name for name, _ in student.named_parameters()], weights(student), strict=True))
    reference.attach(student)
    with torch.no_grad():
        for weight in student.parameters():
            if weight.requires_grad:
                weight += 1
    reference.update(student)
    moved = 0.25 if kind == "ema" else 0
    ours = dict(student.named_parameters())
    for name, weight in reference.policy(student).named_parameters():
        assert (weight is ours[name]) == (".layers.0." in name)
        torch.testing.assert_close(weight, start[name] + (0 if ".layers.0." in name else moved))


def test_what_is_shared_may_not_begin_to_learn(make_policy):
    student, reference = make_policy(), Reference("snapshot")
    student.model.layers[0].requires_grad_(False)
    reference.attach(student)
    student.model.layers[0].requires_grad_(True)
    with pytest.raises(ConfigError, match=r"reference\.kind=snapshot: .* have begun to learn"):
        reference.policy(student)


@pytest.mark.parametrize("kind", ["snapshot", "ema"])
def test_copies_have_no_gradient_and_leave_the_student_as_it_was(make_policy, kind):
    student, reference = make_policy().train(), Reference(kind)
    reference.attach(student)
    assert not any(parameter.requires_grad for parameter in reference.parameters())
    assert not any(module.training for module in reference.policy(student).modules())
    assert student.training
    assert all(parameter.requires_grad for parameter in student.parameters())


def test_a_kind_a_model_or_a_reference_will_do(make_policy):
    reference, model = Reference("ema"), make_policy()
    assert as_reference(reference) is reference
    assert as_reference("snapshot").kind == "snapshot"
    assert as_reference(model).weights is model


def test_a_model_is_named_by_text_or_path(make_policy, tmp_path):
    make_policy().save_pretrained(tmp_path)
    for name in (tmp_path, str(tmp_path)):
        assert as_reference(name).weights.name_or_path == str(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "teacher"}, "reference.kind: 'teacher' is not one of ema, model, snapshot, student"),
        ({"kind": "ema", "decay": 1.5}, "reference.decay: 1.5"),
        ({"kind": "model"}, "reference.kind=model: no model was given"),
    ],
)
def test_settings_that_cannot_work(options, message):
    with pytest.raises(ConfigError, match=message):
        Reference(**options)


def test_a_model_for_a_kind_that_makes_its_own(make_policy):
    with pytest.raises(ConfigError, match=r"reference\.kind=snapshot: a model was given"):
        Reference("snapshot", make_policy())
