"""Reward functions: verifiers of one response, and functions of TRL's signature."""

from __future__ import annotations

import math
import os
import pickle
import time

import pytest

from dopd_lightning.data.reward_pool import RewardPool
from dopd_lightning.data.rewards import checked_rewards, reward_function, weights_of
from dopd_lightning.errors import ConfigError

SUMS = [{"prompt": "1 + 1 = ?", "answer": 2}, {"prompt": "2 + 2 = ?", "answer": 4}]


def rewards(given, responses, examples=SUMS, **options):
    settings = {"processes": 1, "timeout": 5.0} | options
    (found,) = RewardPool({"it": reward_function(given)}, **settings).submit(responses, examples).result().values()
    return found


def test_a_verifier_by_name_rewards_each_response():
    assert rewards("numeric", ["2", "5"]).rewards == [1, 0]


def test_a_function_of_trls_signature_gets_columns_and_the_batch():
    seen = {}

    def reward(prompts, completions, answer, **columns):
        seen.update(prompts=prompts, completions=completions, answer=answer, columns=columns)
        return [0.5, None]

    found = rewards(reward, ["2", "5"], processes=0)
    assert found.rewards[0] == 0.5
    assert math.isnan(found.rewards[1])
    assert seen == {
        "prompts": ["1 + 1 = ?", "2 + 2 = ?"],
        "completions": ["2", "5"],
        "answer": [2, 4],
        "columns": {},
    }


def test_completions_of_chats_are_messages():
    chat = [{"prompt": [{"role": "user", "content": "1 + 1 = ?"}]}]
    function = reward_function(lambda prompts, completions, **columns: [float(completions[0][0]["content"] == "2")])
    assert function(["2"], chat) == [1.0]


def test_functions_run_in_a_process_of_their_own():
    found = rewards(lambda response, example: float(os.getpid()), ["2", "5"])
    assert os.getpid() not in found.rewards
    assert found.rewards[0] == found.rewards[1]


@pytest.mark.parametrize(
    ("function", "failure"),
    [
        (lambda response, example: 1 / int(response), "ZeroDivisionError: division by zero"),
        (
            lambda response, example: time.sleep(60 * (1 - int(response))) or 1.0,
            "it took longer than 1 s for a response",
        ),
        (lambda response, example: os._exit(3) if response == "0" else 1.0, "its process ended (Abnormal termination"),
        (lambda response, example: "good" if response == "0" else 1.0, "it returned 'good' for a response, and must"),
        (lambda response, example: math.inf if response == "0" else 1.0, "it returned inf for a response, and must"),
    ],
    ids=["raises", "hangs", "dies", "text", "infinite"],
)
def test_a_failure_is_an_unknown_reward_and_a_sentence(function, failure):
    found = rewards(function, ["0", "1"], timeout=1.0)
    assert math.isnan(found.rewards[0])
    assert found.rewards[1] == 1
    (sentence,) = found.failures
    assert sentence.startswith(failure)


def test_a_function_of_a_batch_that_returns_too_few():
    found = rewards(lambda prompts, completions, **columns: [1.0], ["2", "5"])
    assert all(map(math.isnan, found.rewards))
    assert found.failures == ["it returned [1.0], and must return 2 values: a number or None for each response"] * 2


def test_no_response_is_no_reward():
    assert rewards("exact", [], []).rewards == []
    assert rewards(lambda prompts, completions, **columns: [1.0], [], []).rewards == []


def test_a_pool_is_sent_to_processes_without_its_own():
    pool = RewardPool({"it": reward_function("math_verify")}, 1, 5.0)
    pool.submit(["2"], SUMS[:1]).result()
    assert pickle.loads(pickle.dumps(pool)).submit(["2"], SUMS[:1]).result()["it"].rewards == [1]


@pytest.mark.parametrize(("found", "expected"), [([1, 0.5], [1, 0.5]), ((True, False), [1, 0])])
def test_numbers_are_floats(found, expected):
    assert checked_rewards(found, 2) == expected


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"right": 1.0}, "weights: given for right, but the verifiers are right, short; give one weight for each"),
        ({"right": 1.0, "short": "much"}, "weights.short: 'much' must be a finite number"),
        ({"right": 1.0, "short": math.nan}, "weights.short: nan must be a finite number"),
    ],
)
def test_weights_are_checked(weights, message):
    with pytest.raises(ConfigError, match=message):
        weights_of({"right": None, "short": None}, weights)


def test_what_is_no_function_is_refused():
    with pytest.raises(ConfigError, match="verifier: 'exactly' is not one of exact, math_verify, numeric"):
        reward_function("exactly")
    with pytest.raises(ConfigError, match="verifier: 3 must be a name or a callable"):
        reward_function(3)
