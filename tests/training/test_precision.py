"""Frozen models keep their dtype, and activations may be computed twice."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dopd_lightning.errors import ConfigError
from dopd_lightning.policies import checkpoint_activations
from dopd_lightning.rollout import DatasetRollout


def dtypes(module: nn.Module) -> set[torch.dtype]:
    return {weight.dtype for weight in module.parameters()}


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "bf16-true"])
@pytest.mark.parametrize("frozen", [torch.float32, torch.bfloat16])
@pytest.mark.filterwarnings("ignore:the student's weights are in bfloat16")
def test_frozen_models_keep_the_dtype_they_were_loaded_in(make_module, make_policy, fit, examples, precision, frozen):
    module = make_module(
        make_policy(0),
        make_policy(1).to(frozen),
        reference=make_policy(2).to(frozen),
        rollout=DatasetRollout(max_new_tokens=8),
    )
    fit(module, [examples], precision=precision)
    assert dtypes(module.student) == {torch.bfloat16 if precision == "bf16-true" else torch.float32}
    assert dtypes(module.teacher) == dtypes(module.reference) == {frozen}


@pytest.mark.filterwarnings("ignore:the student's weights are in bfloat16")
def test_a_snapshot_follows_the_student(make_module, fit, examples):
    module = make_module(reference="snapshot")
    fit(module, [examples], precision="bf16-true")
    assert dtypes(module.reference) == {torch.bfloat16}


def test_moving_moves_all(make_module):
    module = make_module().to(torch.device("meta"))
    assert all(weight.is_meta for weight in module.parameters())


def test_activations_computed_twice_give_the_same_loss_and_gradients(make_module, examples):
    results = []
    for twice in (False, True):
        module = make_module(rollout=DatasetRollout(max_new_tokens=8), activation_checkpointing=twice)
        kept = []

        def keep(tensor, kept=kept):
            kept.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = module.training_step(examples, 0)["loss"]
        loss.backward()
        results.append((loss, [weight.grad for weight in module.student.parameters()], sum(kept)))
    (plain, gradients, kept), (again, others, fewer) = results
    assert plain.equal(again)
    assert all(a.equal(b) for a, b in zip(gradients, others, strict=True))
    assert fewer < 0.5 * kept


def test_an_architecture_that_cannot_is_refused(make_policy, monkeypatch):
    policy = make_policy()
    monkeypatch.setattr(type(policy), "supports_gradient_checkpointing", False)
    with pytest.raises(ConfigError, match="activation_checkpointing: Qwen3ForCausalLM does not support it"):
        checkpoint_activations(policy)
