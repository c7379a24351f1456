"""A clock that charges each moment to one part."""

from __future__ import annotations

import torch

from benchmarks.parts import OTHER, Parts, watching


def test_time_belongs_to_the_innermost_part_and_a_step_is_their_sum():
    now = iter([0.0, 1.0, 3.0, 7.0, 15.0, 31.0])
    parts = Parts(lambda: next(now))
    parts.begin("outer")  # at 1
    parts.timed("inner", lambda: None)()  # from 3 to 7
    parts.end()  # at 15
    parts.end_step()  # at 31
    assert parts.steps == [{OTHER: 1 + 16, "outer": 2 + 8, "inner": 4}]
    assert sum(parts.steps[0].values()) == 31


def test_a_student_that_scores_without_a_gradient_is_a_reference_and_its_rollouts_are_no_forward_pass(make_policy):
    student, teacher = make_policy(0), make_policy(1)
    ids = torch.ones(1, 2, dtype=torch.long)

    def found(use):
        parts = Parts(iter(range(10**6)).__next__)
        with watching(parts, student, teacher):
            use()
        parts.end_step()
        return set(parts.steps[0]) - {OTHER}

    assert found(lambda: student(input_ids=ids)) == {"student forward"}
    assert found(lambda: teacher(input_ids=ids)) == {"teacher forward"}
    assert found(torch.no_grad()(lambda: student(input_ids=ids))) == {"reference forward"}
    assert found(lambda: student.generate(ids, max_new_tokens=2, pad_token_id=0)) == {"rollout"}
    assert found(lambda: student(input_ids=ids).logits.sum().backward()) == {"student forward", "backward"}


def test_nothing_is_watched_afterwards(make_policy):
    student = make_policy(0)
    parts = Parts(iter(range(10**6)).__next__)
    before = torch.Tensor.backward
    with watching(parts, student, make_policy(1)):
        pass
    student(input_ids=torch.ones(1, 2, dtype=torch.long)).logits.sum().backward()
    parts.end_step()
    assert set(parts.steps[0]) == {OTHER}
    assert torch.Tensor.backward is before
