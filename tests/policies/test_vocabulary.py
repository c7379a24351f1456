"""Policies are compared over the tokens that they share, and two different tokenizers are refused."""

from __future__ import annotations

import copy

import pytest

from dopd_lightning.errors import ConfigError
from dopd_lightning.policies import check_same_tokenizer, new_tokenizer, shared_vocabulary_size


def test_a_tokenizer_is_the_same_as_itself(tokenizer):
    check_same_tokenizer(tokenizer, copy.deepcopy(tokenizer))


def test_the_teacher_may_have_tokens_that_the_student_lacks_but_not_the_other_way_round(tokenizer):
    more = copy.deepcopy(tokenizer)
    more.add_tokens(["<tool>"])
    check_same_tokenizer(tokenizer, more)
    with pytest.raises(ConfigError, match=rf"only the student has token '<tool>' \(id {len(tokenizer)}\)"):
        check_same_tokenizer(more, tokenizer)


def test_a_token_with_another_id_is_shown(tokenizer):
    other = new_tokenizer(["wholly other words, worthwhile whales"], vocabulary_size=280)
    with pytest.raises(ConfigError, match=r"student and teacher have different tokenizers: token '.+' is id \d+"):
        check_same_tokenizer(tokenizer, other)


def test_an_id_that_is_another_token_is_shown(tokenizer):
    ours, theirs = copy.deepcopy(tokenizer), copy.deepcopy(tokenizer)
    ours.add_tokens(["<ours>"])
    theirs.add_tokens(["<theirs>"])
    with pytest.raises(ConfigError, match=r"id \d+ is '<ours>' for the student, '<theirs>' for the other"):
        check_same_tokenizer(ours, theirs)


def test_the_same_text_split_in_another_way_is_shown(tokenizer):
    other = copy.deepcopy(tokenizer)
    other.add_tokens(["quick brown"])
    with pytest.raises(
        ConfigError, match=r"student and reference .* the same text splits into .* 'quick brown' for the"
    ):
        check_same_tokenizer(tokenizer, other, "reference")


def test_the_shared_vocabulary_is_the_tokenizers_whatever_the_padding(tokenizer, make_policy):
    policies = {"student": make_policy(), "teacher": make_policy(vocab_size=len(tokenizer) + 40)}
    assert shared_vocabulary_size(tokenizer, {role: policy.config for role, policy in policies.items()}) == len(
        tokenizer
    )


def test_a_policy_with_fewer_logits_than_tokens_is_named(tokenizer, make_policy):
    with pytest.raises(ConfigError, match="teacher: its vocabulary has 100 tokens, but the tokenizer has"):
        shared_vocabulary_size(
            tokenizer, {"student": make_policy().config, "teacher": make_policy(vocab_size=100).config}
        )
