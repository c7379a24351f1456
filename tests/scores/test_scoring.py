"""Scores from policies and views: by states where every head can be read, else by logits."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from dopd_lightning.inputs import Responses, view_of
from dopd_lightning.scores import LogitScores, StateScores, response_logits, scoring
from dopd_lightning.scores.scoring import Scoring

ROLES = ("student", "teacher", "reference")
RESPONSES = Responses.from_lists([[70, 71], [80, 81, 82, 83], [90]], 0)
VIEWS = {
    "student": view_of([[40, 41, 42], [50], [60, 61]], RESPONSES, 0),
    "teacher": view_of([[40, 41, 42, 43, 44], [50, 51], [60]], RESPONSES, 0),
    "reference": view_of([[45], [50, 51], [60, 61, 62]], RESPONSES, 0),
}
TABLES = {"teacher": 5, "student": 3}


class Adapted(nn.Linear):
    """Layer that cannot be read as a head, although it computes what a linear layer does."""


def adapted(policy):
    layer = Adapted(policy.config.hidden_size, policy.config.vocab_size, bias=False)
    layer.weight = policy.lm_head.weight
    policy.lm_head = layer
    return policy


@pytest.fixture
def policies(make_policy):
    """Policies as in training: the student in train mode, and its own reference."""
    student = make_policy(0).train()
    return {"student": student, "teacher": make_policy(1), "reference": student}


@pytest.fixture
def make(tokenizer):
    def make(temperature=1.0, memory=64):
        return Scoring(len(tokenizer), temperature, memory)

    return make


def scored(scoring, policies, tables=TABLES):
    """Scores by role; the student's keep the graph."""
    scoring.try_heads(policies)
    return {
        role: scoring(policy, VIEWS[role], RESPONSES, tables.get(role, 0), learns=role == "student")
        for role, policy in policies.items()
    }


def by_logits(make, policies, **settings):
    policies = copy.deepcopy(policies)
    adapted(policies["teacher"])
    with pytest.warns(UserWarning, match="the teacher's output head is more than a linear layer"):
        return scored(make(**settings), policies)


def test_plain_heads_are_scored_by_states(make, policies):
    scores = scored(make(temperature=0.7, memory=3), policies)
    assert list(scores) == list(ROLES)
    for role, each in scores.items():
        assert isinstance(each, StateScores)
        assert each.head.weight is policies[role].lm_head.weight
        assert (each.temperature, each.memory) == (0.7, 3)
    assert {role: each.top_k for role, each in scores.items()} == {"student": 3, "teacher": 5, "reference": 0}


def test_one_head_that_cannot_be_read_has_all_scored_by_logits_and_is_named_once(make, policies):
    adapted(policies["teacher"])
    score = make(temperature=0.7)
    with pytest.warns(UserWarning, match="the teacher's output head is more than a linear layer") as warnings:
        first = scored(score, policies)
    assert len(warnings) == 1
    second = scored(score, policies)
    for scores in (first, second):
        assert all(isinstance(each, LogitScores) and each.temperature == 0.7 for each in scores.values())


def test_heads_are_tried_once(make, policies, monkeypatch):
    tried = []
    monkeypatch.setattr(scoring, "is_read_right", lambda head, policy: tried.append(policy) or True)
    score = make()
    for _ in range(2):
        scored(score, policies, {})
    assert [policy for policy in tried if policy is policies["teacher"]] == [policies["teacher"]]


def test_a_head_that_is_not_what_it_seems_is_scored_by_logits(make, policies, monkeypatch):
    forward = policies["student"].forward

    def altered(**inputs):
        output = forward(**inputs)
        output.logits[..., 100] += 3.0
        return output

    monkeypatch.setattr(policies["student"], "forward", altered)
    with pytest.warns(UserWarning, match="the student's output head"):
        scores = scored(make(), policies)
    assert isinstance(scores["student"], LogitScores)


@pytest.mark.parametrize("memory", [0.001, 64])
def test_both_ways_say_the_same(make, policies, tokenizer, memory):
    states = scored(make(temperature=0.7, memory=memory), policies)
    logits = by_logits(make, policies, temperature=0.7)
    for role in ROLES:
        torch.testing.assert_close(states[role].logp, logits[role].logp)
        torch.testing.assert_close(states[role].entropy, logits[role].entropy)
        expected = response_logits(policies[role].eval(), VIEWS[role], len(tokenizer)) / 0.7
        torch.testing.assert_close(logits[role].loss_logits, expected)
        every = torch.empty(7, len(tokenizer))
        with torch.no_grad():
            states[role].log_probs(torch.arange(7), every)
        torch.testing.assert_close(every, expected[RESPONSES.mask].log_softmax(-1), rtol=1e-4, atol=1e-4)


def test_only_the_students_scores_have_a_graph(make, policies):
    by_states = scored(make(), policies)
    assert {role: each.graph.requires_grad for role, each in by_states.items()} == {
        "student": True,
        "teacher": False,
        "reference": False,
    }
    for role, each in by_logits(make, policies).items():
        assert each.logits.requires_grad == (role == "student")


@pytest.mark.parametrize("readable", [True, False])
def test_sources_are_scored_in_eval_mode_and_their_modes_restored(make, make_policy, readable):
    """One object in two roles: the student's pass has dropout, and the reference's none."""
    policy = make_policy(0, attention_dropout=0.5).train()
    policy.model.layers[0].eval()  # a part that its owner keeps in eval mode
    if not readable:
        adapted(policy)
    policies = {"student": policy, "reference": policy}
    modes = [module.training for module in policy.modules()]
    score = make()
    if readable:
        passes = [scored(score, policies, {}) for _ in range(2)]
    else:
        with pytest.warns(UserWarning, match="the student's output head"):
            passes = [scored(score, policies, {}) for _ in range(2)]
    assert [module.training for module in policy.modules()] == modes
    torch.testing.assert_close(passes[0]["reference"].logp, passes[1]["reference"].logp)
    assert not torch.allclose(passes[0]["student"].logp, passes[1]["student"].logp)


def test_modes_are_restored_after_an_error(make, policies, monkeypatch):
    def broken(**_):
        raise KeyError

    score = make()
    scored(score, policies, {})
    monkeypatch.setattr(policies["student"], "forward", broken)
    with pytest.raises(KeyError):
        scored(score, {"reference": policies["reference"]}, {})
    assert all(module.training for module in policies["student"].modules())
