"""Tokens that end a response, for a student and a teacher that may end theirs otherwise."""

from __future__ import annotations

import copy

import pytest
from transformers import GenerationConfig

from dopd_lightning.data import PromptFormat
from dopd_lightning.errors import ConfigError
from dopd_lightning.rollout.ends import Ends, ends_named, find_ends

CHAT = {"prompt": [{"role": "user", "content": "1 + 1?"}]}
TURN = 5
"""Stands for a chat's end of turn; the tokenizer's eos_token, <|im_end|>, is 2."""


@pytest.fixture
def base(tokenizer):
    """A tokenizer without a chat template."""
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.chat_template = None
    return tokenizer


@pytest.fixture
def chats(tokenizer):
    """A tokenizer whose template ends turns with another token than its eos_token."""
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.add_special_tokens({"additional_special_tokens": [tokenizer.convert_ids_to_tokens(TURN)]})
    tokenizer.chat_template = tokenizer.chat_template.replace("<|im_end|>", tokenizer.convert_ids_to_tokens(TURN))
    return tokenizer


def ending(policy, *ids):
    policy.generation_config = GenerationConfig(eos_token_id=[*ids])
    return policy


def found(tokenizer, student, teacher=None, teacher_tokenizer=None, vocabulary_size=280):
    policies = {"student": student} | ({} if teacher is None else {"teacher": teacher})
    return find_ends(policies, {"student": tokenizer, "teacher": teacher_tokenizer}, PromptFormat(), vocabulary_size)


def test_models_that_end_alike_are_not_warned_of(make_policy, tokenizer):
    ends = found(tokenizer, make_policy(0), make_policy(1), tokenizer)
    assert ends == Ends([2], 2, 2)
    assert ends.behind(CHAT) == ends.behind({"prompt": "1 + 1?"}) == 2


def test_responses_end_at_any_end_of_the_teacher(make_policy, base):
    with pytest.warns(UserWarning, match=r"also end with '.+' \(id 7\), of the teacher\. The student's own end is '<"):
        ends = found(base, make_policy(0), ending(make_policy(1), 7, 2), base)
    assert ends == Ends([2, 7], 2, 2)


def test_a_chat_template_ends_turns_and_completions_of_chats(make_policy, base, chats):
    with pytest.warns(UserWarning, match=r"\(id 5\), of the student's chat template\. The student's own end"):
        ends = found(chats, make_policy(0))
    assert ends == Ends([2, TURN], behind_text=2, behind_turn=TURN)
    assert ends.behind(CHAT) == TURN
    with pytest.warns(UserWarning, match=r"\(id 5\), of the teacher"):
        ends = found(base, make_policy(0), make_policy(1), chats)
    assert ends == Ends([2, TURN], 2, 2), "prompts are written by the student's"
    assert found(chats, ending(make_policy(0), TURN), make_policy(1), base).ids == [2, TURN], "its own: nothing to say"


def test_an_end_that_the_student_cannot_write_ends_nothing(make_policy, base):
    student, teacher = make_policy(0), make_policy(1, eos_token_id=279)
    theirs = copy.deepcopy(base)
    theirs.eos_token = base.convert_ids_to_tokens(270)
    with pytest.warns(UserWarning, match="the teacher ends its texts with .* which is no token of the student"):
        assert found(base, student, ending(teacher, 275), theirs, vocabulary_size=270).ids == [2]


def test_a_source_without_a_tokenizer_has_the_ends_of_its_config(make_policy, base):
    with pytest.warns(UserWarning, match=r"\(id 7\), of the teacher"):
        assert found(base, make_policy(0), ending(make_policy(1), 7)).ids == [2, 7]


def test_without_any_end_a_student_could_never_stop(make_policy, base):
    base.eos_token = None
    with pytest.raises(ConfigError, match="no token ends a response"):
        found(base, ending(make_policy(0, eos_token_id=None)))


@pytest.mark.parametrize(
    ("own", "ids", "named"),
    [(2, [2], 2), (2, [2, 5], [2, 5]), ([9, 2], [2, 5, 9], [9, 2, 5]), (None, [2], 2), (None, [2, 5], [2, 5])],
)
def test_what_is_saved_names_every_end_and_its_own_first(make_policy, own, ids, named):
    student = make_policy(0)
    before = student.generation_config = GenerationConfig(eos_token_id=own, top_k=20, do_sample=True)
    with ends_named(student, ids):
        assert (student.generation_config.eos_token_id, student.generation_config.top_k) == (named, 20)
    assert student.generation_config is before
    assert before.eos_token_id == own
