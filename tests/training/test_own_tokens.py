"""Tokens that the student did not write are read by every policy, and nothing is learned or measured of them."""

from __future__ import annotations

import copy

import pytest
import torch

from dopd_lightning.fusion import DOPD, Data, Teacher
from dopd_lightning.rollout import DatasetRollout, Response

OWN = [[True, True, False, False, True], [False, True, True]]
IDS = [[70, 71, 72, 73, 279 - 1], [80, 81, 82]]


class Written:
    """A rollout that gives these responses, with these tokens of the student's own."""

    samples_per_prompt, sampling = 1, DatasetRollout().sampling
    writers, student_writes = frozenset(), False

    def __init__(self, own):
        self.own = own

    def __call__(self, request):
        return [Response(ids, own) for ids, own in zip(IDS, self.own, strict=True)]


ALL = [None, None]


@pytest.mark.parametrize(
    "fusion", [Teacher(), Data(), Teacher(support="top_k", top_k=5)], ids=["full", "data", "top_k"]
)
def test_the_loss_is_that_of_the_own_tokens_behind_all(make_module, examples, fusion):
    step = make_module(fusion=fusion, rollout=Written(OWN)).training_step(examples[:2], 0)
    whole = make_module(fusion=fusion, rollout=Written(ALL)).training_step(examples[:2], 0)
    own = torch.tensor([OWN[0], [*OWN[1], False, False]])
    record, expected = step["record"], whole["record"]
    assert record.mask.equal(own)
    torch.testing.assert_close(record.loss, expected.loss * own)
    torch.testing.assert_close(step["loss"], ((expected.loss * own).sum(-1) / own.sum(-1)).mean())
    torch.testing.assert_close(record.logp["student"], expected.logp["student"] * own)


def test_routing_is_of_the_own_tokens_alone(make_module, examples):
    module = make_module(fusion=DOPD(top_k=8, outlier_fraction=0.0), rollout=Written(OWN))
    record = module.training_step(examples[:2], 0)["record"]
    assert (record.regimes[~record.mask] == -1).all()
    assert record.thresholds.gap == pytest.approx(record.gap[record.mask].mean().item())
    assert module.regime_counts.counts.sum() == 5


def test_a_completion_of_several_turns_is_learned_turn_by_turn(make_module, tokenizer):
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m.role }}: {{ m.content }}" + tokenizer.eos_token + "{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    completion = [
        {"role": "assistant", "content": "1 2"},
        {"role": "tool", "content": "3"},
        {"role": "assistant", "content": "It is 3."},
    ]
    example = {"prompt": [{"role": "user", "content": "Add 1 2."}], "completion": completion, "privileged": "3"}
    module = make_module(fusion=Data(), rollout=DatasetRollout(max_new_tokens=64), tokenizer=tokenizer)
    record = module.training_step([example], 0)["record"]
    learned = tokenizer.decode(record.response_ids[0][record.mask[0]])
    assert learned == f"1 2{tokenizer.eos_token}It is 3.{tokenizer.eos_token}"
    assert record.ended.tolist() == [True]
