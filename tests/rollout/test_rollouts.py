"""Writers of responses, and the prompts that they see."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from dopd_lightning.errors import ConfigError, DataError
from dopd_lightning.rollout import (
    DatasetRollout,
    MixedRollout,
    RolloutRequest,
    Sampling,
    StudentRollout,
    TeacherRollout,
    generate,
)

GREEDY = {"max_new_tokens": 5, "temperature": 0, "samples_per_prompt": 1}


PROMPTS = {"student": [[40, 41, 42], [50]], "teacher": [[40, 41, 42, 43, 44], [50, 51]]}


@pytest.fixture
def write(make_policy, tokenizer):
    """Each policy's responses to its own prompts."""
    policies = {"student": make_policy(0), "teacher": make_policy(1)}

    def write(name, sampling, each):
        return generate(
            policies[name],
            PROMPTS[name],
            sampling,
            eos_ids=[tokenizer.eos_token_id],
            pad_id=tokenizer.pad_token_id,
            vocabulary_size=len(tokenizer),
            samples_per_prompt=each,
        )

    return write


@pytest.fixture
def request_(write, tokenizer):
    return RolloutRequest(
        write=write,
        completions=["1 2 3", "4"],
        completion_ends=[tokenizer.eos_token_id] * 2,
        tokenizer=tokenizer,
        eos_ids=[tokenizer.eos_token_id],
    )


def written_by(name, request_):
    return request_.write(name, Sampling(max_new_tokens=5, temperature=0), 1)


def test_the_student_answers_its_own_prompt(request_):
    assert StudentRollout(**GREEDY)(request_) == written_by("student", request_)


def test_the_teacher_answers_the_prompt_that_it_is_shown(request_):
    assert TeacherRollout(**GREEDY)(request_) == written_by("teacher", request_)


def test_completions_get_an_end_of_sequence_token(request_, tokenizer):
    first, second = DatasetRollout()(request_)
    assert first == [*tokenizer.encode("1 2 3", add_special_tokens=False), tokenizer.eos_token_id]
    assert second == [*tokenizer.encode("4", add_special_tokens=False), tokenizer.eos_token_id]


def test_a_completion_that_spells_its_end_gets_no_second_one(request_, tokenizer):
    spelled = replace(request_, completions=["1 2 3" + tokenizer.eos_token, f"4{tokenizer.eos_token} and more"])
    assert DatasetRollout()(spelled) == DatasetRollout()(request_)


def test_each_completion_has_an_end_of_its_own(request_, tokenizer):
    """A chat's may be another than a text's; either of them ends a completion that spells it."""
    ends = replace(request_, completion_ends=[0, tokenizer.eos_token_id], eos_ids=[0, tokenizer.eos_token_id])
    assert [written[-1] for written in DatasetRollout()(ends)] == [0, tokenizer.eos_token_id]
    spelled = replace(ends, completions=[f"1{tokenizer.eos_token}", f"4{tokenizer.pad_token} more"])
    assert [written[-1] for written in DatasetRollout()(spelled)] == [tokenizer.eos_token_id, 0]
    assert MixedRollout(on_policy=0, samples_per_prompt=1)(spelled) == DatasetRollout()(spelled)


def test_a_completion_beyond_the_limit_is_cut_and_has_no_end(request_, tokenizer):
    first, _ = DatasetRollout(max_new_tokens=2)(request_)
    assert first == tokenizer.encode("1 2 3", add_special_tokens=False)[:2]


def test_an_empty_completion_is_the_end_of_sequence_token_alone(request_, tokenizer):
    assert DatasetRollout()(replace(request_, completions=["", "4"]))[0] == [tokenizer.eos_token_id]


def test_a_missing_completion_is_named(request_):
    with pytest.raises(DataError, match="example 1 of the batch has no `completion`"):
        DatasetRollout()(replace(request_, completions=["1", None]))


def test_mixed_is_on_policy_always_or_never(request_):
    student = written_by("student", request_)
    teacher = written_by("teacher", request_)
    assert MixedRollout(on_policy=1, **GREEDY)(request_) == student
    assert MixedRollout(on_policy=0, off_policy="teacher", **GREEDY)(request_) == teacher
    static = DatasetRollout(max_new_tokens=5)(request_)
    twice = MixedRollout(on_policy=0, max_new_tokens=5, samples_per_prompt=2)(request_)
    assert twice == [static[0], static[0], static[1], static[1]]


def test_mixed_is_on_policy_with_the_probability_given(request_):
    torch.manual_seed(0)
    mixed, static = MixedRollout(on_policy=0.25, **GREEDY), DatasetRollout(max_new_tokens=5)(request_)
    share = sum(mixed(request_) != static for _ in range(60)) / 60
    assert 0.1 < share < 0.4


def test_writers_are_named():
    assert StudentRollout().writers == MixedRollout().writers == {"student"}
    assert TeacherRollout().writers == MixedRollout(off_policy="teacher", on_policy=0).writers == {"teacher"}
    assert MixedRollout(off_policy="teacher").writers == {"student", "teacher"}
    assert DatasetRollout().writers == MixedRollout(on_policy=0).writers == frozenset()


def test_who_leaves_all_writing_to_the_student():
    assert StudentRollout().student_writes
    assert MixedRollout(on_policy=1).student_writes
    assert not any(rollout.student_writes for rollout in (TeacherRollout(), DatasetRollout(), MixedRollout()))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: StudentRollout(temperature=0), "4 greedy responses"),
        (lambda: StudentRollout(samples_per_prompt=0), "samples_per_prompt: 0"),
        (lambda: TeacherRollout(max_new_tokens=0), "max_new_tokens: 0"),
        (lambda: DatasetRollout(max_new_tokens=0), "max_new_tokens: 0"),
        (lambda: MixedRollout(on_policy=1.5), "on_policy: 1.5"),
        (lambda: MixedRollout(off_policy="student"), "off_policy: 'student' is not one of dataset, teacher"),
    ],
)
def test_settings_that_cannot_work(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
