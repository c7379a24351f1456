"""Sources of rewards: outcomes, and columns of the data."""

from __future__ import annotations

import math
import warnings

import pytest
import torch

from dopd_lightning.errors import ConfigError, DataError
from dopd_lightning.inputs.views import view_of
from dopd_lightning.rollout import Response, Rollouts
from dopd_lightning.scores.scoring import Scoring
from dopd_lightning.sources import Column, Ensemble, Outcome, ScoringRequest

EXAMPLES = [{"prompt": "1 + 1", "answer": "2", "solved": 0.5}, {"prompt": "2 + 2", "answer": "4", "solved": None}]
TEXTS = {5: "2", 6: "3", 7: "4"}


def request(*ids):
    """Responses of one token each, two to an example; 9 ends one."""
    written = [Response(each) for each in ids]
    rollouts = Rollouts.of(
        EXAMPLES,
        written,
        0,
        [9],
        torch.device("cpu"),
        lambda rows: ["".join(TEXTS.get(n, "") for n in row) for row in rows],
    )
    return ScoringRequest(rollouts, view_of([[1]] * len(ids), rollouts.responses, 0), Scoring(16, 1.0, 1.0))


FOUR = request([5, 9], [6, 9], [7], [6])


def test_an_outcome_rewards_each_response():
    assert Outcome("exact").rewards(None, FOUR).tolist() == [1, 0, 1, 0]


def test_it_begins_beside_other_work():
    source = Outcome("exact")
    source.begin(FOUR)
    assert source.rewards(None, FOUR).tolist() == [1, 0, 1, 0]
    assert source.rewards(None, request([6], [6], [6], [7])).tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize(("truncated", "expected"), [("score", [1, 0, 1, 0]), ("wrong", [1, 0, 0, 0])])
def test_cut_responses_are_scored_or_wrong(truncated, expected):
    assert Outcome("exact", truncated=truncated).rewards(None, FOUR).tolist() == expected


def test_cut_responses_may_be_unknown():
    found = Outcome("exact", truncated="unknown").rewards(None, FOUR)
    assert found[:2].tolist() == [1, 0]
    assert found[2:].isnan().all()


def test_several_verifiers_have_weights_and_unknown_ones_do_not_count():
    def short(response, example):
        return None if response == "3" else -len(response)

    source = Outcome({"right": "exact", "short": short}, {"right": 1, "short": 0.5}, processes=0)
    assert source.rewards(None, FOUR).tolist() == [0.5, 0, 0.5, 0]
    alone = Outcome({"short": short}, processes=0).rewards(None, FOUR)
    assert alone[0] == -1
    assert alone[1].isnan()


def test_a_failure_is_a_warning_once_and_an_unknown_reward():
    source = Outcome(lambda response, example: {"2": 1.0, "4": 0.0}[response])
    with pytest.warns(UserWarning, match="a reward is unknown, since a verifier failed: verifier: KeyError: '3'"):
        found = source.rewards(None, FOUR)
    assert found[0] == 1
    assert found[1].isnan()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        source.rewards(None, FOUR)


def test_a_batch_that_fails_altogether_ends_the_run():
    source = Outcome(lambda response, example: example["verdict"])
    with pytest.raises(
        ConfigError, match="verifier: it failed on every response of a batch: verifier: KeyError: 'verdict'"
    ):
        source.rewards(None, FOUR)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"verifier": "exactly"}, "verifier: 'exactly' is not one of"),
        ({"verifier": {}}, "verifier: none is given"),
        ({"weights": {"other": 1}}, "weights: given for other"),
        ({"truncated": "cut"}, "truncated: 'cut' is not one of"),
        ({"processes": -1}, "processes: -1"),
        ({"timeout": 0}, "timeout: 0"),
    ],
)
def test_settings_are_checked(options, message):
    with pytest.raises(ConfigError, match=message):
        Outcome(**options)


def test_a_column_rewards_every_response_to_an_example():
    found = Column("solved").rewards(None, FOUR)
    assert found[:2].tolist() == [0.5, 0.5]
    assert found[2:].isnan().all()


@pytest.mark.parametrize("value", ["yes", math.inf, [1]])
def test_a_column_without_a_number_is_refused_with_its_prompt(value):
    with pytest.raises(DataError, match=r"solved: .*, of the prompt '1 \+ 1', must be a number"):
        Column("solved").check([{"prompt": "1 + 1", "solved": value}])
    with pytest.raises(DataError, match=r"solved: 'missing', of the prompt '1 \+ 1'"):
        Column("solved").check([{"prompt": "1 + 1"}])
    with pytest.raises(ConfigError, match="column: 3 must be the name"):
        Column(3)


def test_a_pool_of_distributions_has_no_member_that_rewards():
    with pytest.raises(
        ConfigError, match=r"members\.judge: Outcome gives rewards, but members must give distributions"
    ):
        Ensemble({"start": "snapshot", "judge": Outcome()})
