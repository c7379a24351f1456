"""Kinds of sources that are one policy."""

from __future__ import annotations

import pytest
import torch

from dopd_lightning.errors import ConfigError
from dopd_lightning.sources import KINDS, Ema, Policy, Snapshot, Student


def shift(policy, by):
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter += by


def weights(policy):
    return [parameter.detach().clone() for parameter in policy.parameters()]


def assert_same(policy, expected):
    torch.testing.assert_close(weights(policy), expected)


def test_the_student_is_a_source_that_holds_no_weights(make_policy):
    student, source = make_policy(), Student()
    source.attach(student)
    assert source.policy(student) is student
    assert list(source.parameters()) == []
    assert all(parameter.requires_grad for parameter in student.parameters())


def test_a_snapshot_stays(make_policy):
    student, source = make_policy(), Snapshot()
    before = weights(student)
    source.attach(student)
    shift(student, 1.0)
    source.update(student)
    assert_same(source.policy(student), before)


def test_an_average_begins_at_the_initial_student_and_follows_by_its_decay(make_policy):
    student, source = make_policy(), Ema(decay=0.75)
    start = weights(student)
    source.attach(student)
    assert_same(source.policy(student), start)
    shift(student, 1.0)  # the student is at 1: 0.75 · 0 + 0.25 · 1
    source.update(student)
    assert_same(source.policy(student), [weight + 0.25 for weight in start])
    shift(student, 1.0)  # at 2: 0.75 · 0.25 + 0.25 · 2
    source.update(student)
    assert_same(source.policy(student), [weight + 0.6875 for weight in start])
    assert source.saves("weights.model.norm.weight")


def test_another_model_is_frozen(make_policy):
    student, other = make_policy(0), make_policy(1).train()
    source = Policy(other)
    source.attach(student)
    assert source.policy(student) is other
    assert not other.training
    assert not any(parameter.requires_grad for parameter in other.parameters())


@pytest.mark.parametrize("kind", ["snapshot", "ema"])
def test_what_is_frozen_of_the_student_is_shared_and_what_learns_is_not(make_policy, kind):
    student, source = make_policy(), Ema(decay=0.75) if kind == "ema" else Snapshot()
    student.model.layers[0].requires_grad_(False)
    start = dict(zip([name for name, _ in student.named_parameters()], weights(student), strict=True))
    source.attach(student)
    with torch.no_grad():
        for weight in student.parameters():
            if weight.requires_grad:
                weight += 1
    source.update(student)
    moved = 0.25 if kind == "ema" else 0
    ours = dict(student.named_parameters())
    for name, weight in source.policy(student).named_parameters():
        assert (weight is ours[name]) == (".layers.0." in name)
        torch.testing.assert_close(weight, start[name] + (0 if ".layers.0." in name else moved))


def test_what_is_shared_may_not_begin_to_learn(make_policy):
    student, source = make_policy(), Snapshot()
    student.model.layers[0].requires_grad_(False)
    source.attach(student)
    student.model.layers[0].requires_grad_(True)
    with pytest.raises(ConfigError, match=r"snapshot: .* were unfrozen later"):
        source.policy(student)


@pytest.mark.parametrize("kind", ["snapshot", "ema"])
def test_copies_have_no_gradient_and_leave_the_student_as_it_was(make_policy, kind):
    student, source = make_policy().train(), KINDS[kind]()
    source.attach(student)
    assert not any(parameter.requires_grad for parameter in source.parameters())
    assert not any(module.training for module in source.policy(student).modules())
    assert student.training
    assert all(parameter.requires_grad for parameter in student.parameters())


def test_a_probability_is_checked():
    with pytest.raises(ConfigError, match=r"shown: 1\.5 must be at least 0 and at most 1"):
        Student(shown=1.5)


def test_what_is_no_model_is_no_policy():
    with pytest.raises(ConfigError, match="model: 3 is not a model"):
        Policy(3)
