"""Rewards in a training step: record, metrics, and rules that use them."""

from __future__ import annotations

import pytest
import torch

from dopd_lightning.errors import ConfigError
from dopd_lightning.fusion import OPDVR, RewardMix, Teacher, TeacherProbe
from dopd_lightning.rollout import StudentRollout
from dopd_lightning.sources import Column, Outcome

SAMPLED = {"rollout": StudentRollout(samples_per_prompt=2, max_new_tokens=6)}


def even(response, example):
    return float(len(response) % 2 == 0)


def test_rewards_are_in_the_record_and_the_metrics(make_module, examples, fit):
    module = make_module(fusion=RewardMix(), sources={"outcome": Outcome(even, processes=0)}, **SAMPLED)
    record = module.training_step(examples, 0)["record"]
    trainer = fit(module, [examples])
    texts = module.tokenizer.batch_decode(record.response_ids, skip_special_tokens=True)
    assert record.rewards["outcome"].shape == (6,)
    assert list(record.logp) == ["student", "teacher"]
    assert record.advantage.shape == record.response_ids.shape
    assert len(texts) == 6
    logged = trainer.callback_metrics
    assert 0 <= logged["train/reward/outcome"] <= 1
    mean = logged["train/reward/outcome"]
    assert logged["train/reward_spread/outcome"] == pytest.approx(float((mean * (1 - mean)) ** 0.5), abs=1e-6)
    assert logged["train/reward_unknown/outcome"] == 0


def test_a_policy_gradient_raises_the_reward(make_module, make_policy, examples, fit):
    """A reward for one character, without a teacher's pull: after some steps it is written more often."""
    torch.manual_seed(0)
    rewarder = Outcome(lambda response, example: response.count("1") / 6, processes=0)
    module = make_module(
        fusion=RewardMix(beta=0.5, reward_weight=50.0, baseline="batch"),
        sources={"outcome": rewarder},
        rollout=StudentRollout(samples_per_prompt=16, max_new_tokens=6),
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=0.01),
    )
    means = []
    step = module.training_step

    def training_step(batch, batch_idx):
        outputs = step(batch, batch_idx)
        means.append(outputs["record"].rewards["outcome"].mean().item())
        return outputs

    module.training_step = training_step
    fit(module, [examples] * 20)
    assert sum(means[-5:]) / 5 > 2 * sum(means[:3]) / 3


def test_rows_of_unsolved_prompts_are_left_out(make_module, examples):
    rows = [example | {"solved": solved} for example, solved in zip(examples, (1.0, 0.0, 1.0), strict=True)]
    sources = {"outcome": Outcome(even, processes=0), "solved": Column("solved")}
    module = make_module(fusion=TeacherProbe(reward_weight=0.0), sources=sources, **SAMPLED)
    record = module.training_step(rows, 0)["record"]
    taught = (record.loss != 0).any(-1).tolist()
    assert taught[:4] == [True, True, False, False]


@pytest.mark.parametrize("rollout", ["dataset", "temperature"])
def test_a_policy_gradient_is_of_the_students_own_samples(make_module, rollout):
    parts = {} if rollout == "dataset" else {"rollout": StudentRollout(temperature=0.7)}
    with pytest.raises(ConfigError, match="a policy gradient"):
        make_module(fusion=RewardMix(), sources={"outcome": Outcome()}, **parts)


def test_a_distribution_is_not_taken_from_a_source_of_rewards(make_module):
    with pytest.raises(ConfigError, match="outcome: it gives rewards, but the fusion rule needs distributions"):
        make_module(fusion=Teacher(source="outcome"), sources={"outcome": Outcome()})


def test_rewards_are_not_taken_from_a_policy(make_module, make_policy):
    with pytest.raises(ConfigError, match="outcome: it gives distributions, but the fusion rule needs rewards"):
        make_module(fusion=OPDVR(support="full"), sources={"outcome": make_policy(3)})


def test_a_missing_outcome_says_how_to_add_it(make_module):
    with pytest.raises(
        ConfigError, match=r"sources\.outcome: is not set, and the fusion rule needs it; add sources=\[outcome\]"
    ):
        make_module(fusion=OPDVR(support="full"))


def test_length_and_cuts_count_tokens_that_are_not_the_students_own(make_module, examples, fit):
    from tests.training.test_own_tokens import OWN, Written

    trainer = fit(make_module(fusion=Teacher(), rollout=Written(OWN)), [examples[:2]])
    plain = fit(make_module(fusion=Teacher(), rollout=Written([None, None])), [examples[:2]])
    for name in ("length", "cut_share", "eos_share"):
        assert trainer.callback_metrics[f"train/response/{name}"] == plain.callback_metrics[f"train/response/{name}"]
