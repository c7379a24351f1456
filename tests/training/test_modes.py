"""The student trains in train mode; whatever only answers or scores is in eval mode."""

from __future__ import annotations

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader

from dopd_lightning.fusion import Teacher
from dopd_lightning.rollout import DatasetRollout, StudentRollout
from dopd_lightning.training.module import DOPDModule

GREEDY = StudentRollout(max_new_tokens=6, samples_per_prompt=1, temperature=0)


def in_train_mode(policy):
    return {module.training for module in policy.modules()}


class Modes(L.Callback):
    """Notes the modes at each step."""

    def __init__(self):
        self.student, self.sources = [], []

    def on_before_backward(self, trainer, module, loss):
        self.student.append(in_train_mode(module.student))
        self.sources.append(in_train_mode(module.teacher) | in_train_mode(module.reference))


def test_the_student_trains_in_train_mode_and_the_sources_never_do(make_module, make_policy, make_trainer, examples):
    module = make_module(make_policy(0).eval(), make_policy(1).train(), "snapshot")
    module.eval()  # as one that was evaluated before
    modes = Modes()
    trainer = make_trainer(callbacks=[modes], max_epochs=2, num_sanity_val_steps=1)
    trainer.fit(module, DataLoader([examples] * 2, batch_size=None), DataLoader([examples[:1]], batch_size=None))
    assert modes.student == [{True}] * 4, "after validation too"
    assert modes.sources == [{False}] * 4


@pytest.mark.parametrize("kind", ["snapshot", "ema", "model"])
def test_no_call_of_train_reaches_the_sources(make_module, make_policy, kind):
    module = make_module(reference=make_policy(2) if kind == "model" else kind)
    module.train()
    assert in_train_mode(module.student) == {True}
    assert in_train_mode(module.teacher) == in_train_mode(module.reference) == {False}
    module.eval()
    assert in_train_mode(module.student) == {False}


def test_the_students_own_pass_has_dropout(make_module, make_policy, examples):
    module = make_module(make_policy(0, attention_dropout=0.5))
    torch.manual_seed(0)
    first, second = (module.training_step(examples, 0)["record"] for _ in range(2))
    assert not torch.allclose(first.student_logp, second.student_logp)
    torch.testing.assert_close(first.reference_logp, second.reference_logp)


def test_rollouts_and_the_reference_have_none(make_module, make_policy, examples):
    with_dropout = make_module(
        make_policy(0, attention_dropout=0.5), make_policy(1, attention_dropout=0.5), rollout=GREEDY
    )
    without = make_module(rollout=GREEDY)
    a, b = (module.training_step(examples, 0)["record"] for module in (with_dropout, without))
    assert a.response_ids.tolist() == b.response_ids.tolist()
    torch.testing.assert_close(a.reference_logp, b.reference_logp)
    torch.testing.assert_close(a.teacher_logp, b.teacher_logp)
    assert in_train_mode(with_dropout.student) == {True}


def test_answers_have_none_and_the_mode_is_put_back(make_module, make_policy, examples):
    module = make_module(make_policy(0, attention_dropout=0.5))
    assert module.answer(examples) == make_module().answer(examples)
    assert in_train_mode(module.student) == {True}


def test_modes_are_put_back_when_a_rollout_fails(make_module, examples):
    class Broken(DatasetRollout):
        def __call__(self, request):
            assert not module.student.training
            raise RuntimeError("broken")

    module = make_module(rollout=Broken())
    with pytest.raises(RuntimeError, match="broken"):
        module.training_step(examples, 0)
    assert in_train_mode(module.student) == {True}


def test_modes_are_put_back_when_the_reference_fails(make_module, examples, monkeypatch):
    module = make_module()
    monkeypatch.setattr(module.student.lm_head, "forward", fails_in_eval_mode(module.student))
    with pytest.raises(RuntimeError, match="reference"):
        module.training_step(examples, 0)
    assert in_train_mode(module.student) == {True}


def fails_in_eval_mode(policy):
    forward = policy.lm_head.forward

    def call(hidden):
        if not policy.training:
            raise RuntimeError("reference")
        return forward(hidden)

    return call


def test_a_module_made_for_scoring_alone_has_no_reference_weights(make_policy, tokenizer):
    module = DOPDModule(make_policy(0), make_policy(1), fusion=Teacher(), tokenizer=tokenizer)
    assert list(module.reference.parameters()) == []
