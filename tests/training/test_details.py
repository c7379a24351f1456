"""Requests of callbacks: details of the next step's rollouts, and the record of prompts of their own."""

from __future__ import annotations

import pytest
import torch

from dopd_lightning.fusion import DOPD, Data, Teacher
from dopd_lightning.rollout import StudentRollout


def test_details_are_of_the_first_response_to_each_of_the_first_prompts_of_the_next_step_alone(make_module, examples):
    module = make_module(rollout=StudentRollout(max_new_tokens=5, samples_per_prompt=2))
    module.detail_next(alternatives=3, prompts=2)
    details = module.training_step(examples, 0)["record"].details
    assert list(details.rollouts) == [0, 2]
    assert set(details.divergence) == {"teacher", "reference"}
    assert details.likeliest["reference"].ids.shape[0::2] == (2, 3)
    assert module.training_step(examples, 0)["record"].details is None


def test_what_the_rule_does_not_need_is_not_there(make_module, examples):
    for fusion, sources in ((Teacher(), {"teacher"}), (Data(), set())):
        module = make_module(fusion=fusion)
        module.detail_next(alternatives=1)
        details = module.training_step(examples, 0)["record"].details
        assert set(details.divergence) == sources
        assert set(details.likeliest) == {"student"} | sources


def test_asking_changes_neither_loss_nor_gradient(make_module, examples):
    found = []
    for ask in (False, True):
        module = make_module()
        if ask:
            module.detail_next(alternatives=3)
        step = module.training_step(examples, 0)
        step["loss"].backward()
        found.append((step["loss"], [weight.grad for weight in module.student.parameters()]))
    torch.testing.assert_close(*found, rtol=0, atol=0)


def test_the_record_knows_its_examples_and_how_responses_ended(make_module, tokenizer, examples):
    record = make_module().training_step(examples, 0)["record"]
    assert [example["prompt"] for example in record.examples] == [example["prompt"] for example in examples]
    assert record.ended.tolist() == [True, False, True], "the second completion is longer than the limit of 8 tokens"
    assert record.rollout_seconds > 0
    assert record.thresholds.gap > 0


def test_observing_is_a_step_that_teaches_nothing(make_module, examples):
    sampled = StudentRollout(max_new_tokens=5, samples_per_prompt=2)
    module = make_module(rollout=sampled)
    torch.manual_seed(3)
    record = module.observe(examples, alternatives=2)
    assert len(record.response_ids) == len(examples), "one response a prompt"
    assert list(record.details.rollouts) == [0, 1, 2]
    assert not record.loss.requires_grad
    assert module.student.training
    assert all(weight.grad is None for weight in module.student.parameters())
    assert module.regime_counts.shares() == {}

    once = make_module(rollout=StudentRollout(max_new_tokens=5, samples_per_prompt=1))
    torch.manual_seed(3)
    step = once.training_step(examples, 0)["record"]
    assert step.response_ids.tolist() == record.response_ids.tolist()
    for name in ("loss", "gap", "regimes", "student_logp", "reference_entropy"):
        torch.testing.assert_close(getattr(record, name), getattr(step, name), msg=name)


@pytest.mark.parametrize("fusion", [DOPD(top_k=8), Data()], ids=["DOPD", "Data"])
def test_the_student_answers_whatever_training_learns_from(make_module, examples, fusion):
    record = make_module(fusion=fusion).observe(examples, alternatives=1)  # rollouts come from the data
    assert record.student_logp[record.mask].isfinite().all()
    assert (record.regimes is None) == isinstance(fusion, Data)
