"""Contents of a checkpoint, loading into other modules, and resuming."""

from __future__ import annotations

import pytest
import torch
from transformers import get_linear_schedule_with_warmup

from dopd_lightning.errors import ConfigError
from dopd_lightning.policies import load_lora_policy
from dopd_lightning.rollout import DatasetRollout, StudentRollout
from dopd_lightning.training.module import DOPDModule


@pytest.fixture
def save(fit, tmp_path):
    """Train for an epoch, and save."""

    def run(module, batches):
        path = tmp_path / "run.ckpt"
        fit(module, batches).save_checkpoint(path)
        return path

    return run


def load(path):
    return torch.load(path, weights_only=True)


@pytest.mark.parametrize("kind", ["student", "snapshot", "ema", "model"])
def test_frozen_sources_are_not_in_it_and_a_reference_that_learns_is(make_module, make_policy, save, examples, kind):
    module = make_module(reference=make_policy(2) if kind == "model" else kind)
    checkpoint = load(save(module, [examples]))
    rooms = {name.split(".")[0] for name in checkpoint["state_dict"]}
    assert rooms == {"student"} | ({"sources"} if kind == "ema" else set())
    for name, value in module.student.state_dict().items():
        assert torch.equal(checkpoint["state_dict"][f"student.{name}"], value)
    (state,) = checkpoint["optimizer_states"]
    assert len(state["state"]) == len(list(module.student.parameters()))


def test_it_loads_into_a_new_module_without_frozen_sources(make_module, make_policy, save, tokenizer, examples):
    module = make_module(reference="ema")
    path = save(module, [examples])
    loaded = DOPDModule.load_from_checkpoint(
        path,
        weights_only=True,
        student=make_policy(5),
        teacher=make_policy(1),
        reference="ema",
        tokenizer=tokenizer,
    )
    torch.testing.assert_close(loaded.state_dict(), module.state_dict())
    assert loaded.regime_counts.shares() == module.regime_counts.shares() != {}


@pytest.mark.parametrize("kind", ["student", "ema"])
@pytest.mark.parametrize("rollout", [DatasetRollout(max_new_tokens=8), StudentRollout(max_new_tokens=8)])
def test_a_run_that_goes_on_ends_like_one_that_never_stopped(
    make_module, make_policy, save, fit, examples, kind, rollout
):
    def linear(*, optimizer, num_training_steps):
        return get_linear_schedule_with_warmup(optimizer, 1, 10)

    parts = {"reference": kind, "scheduler": linear, "rollout": rollout}
    batches = [examples[:2], examples[1:]]
    whole = make_module(**parts)
    torch.manual_seed(0)
    fit(whole, batches, max_epochs=2)

    torch.manual_seed(0)
    path = save(make_module(**parts), batches)
    resumed = make_module(make_policy(7), **parts)
    torch.manual_seed(1)  # whatever the state of a new process
    trainer = fit(resumed, batches, max_epochs=2, ckpt_path=path)
    assert trainer.global_step == 4
    torch.testing.assert_close(resumed.state_dict(), whole.state_dict())
    assert resumed.regime_counts.compute().equal(whole.regime_counts.compute())


@pytest.mark.parametrize(
    ("fields", "parameter"),
    [
        ({"hidden_size": 48}, r"student\.model\.embed_tokens\.weight is \(\d+, 32\) in the checkpoint and \(\d+, 48\)"),
        ({"num_hidden_layers": 3}, r"student\.model\.layers\.2\..* is missing in the checkpoint"),
        ({"num_hidden_layers": 1}, r"student\.model\.layers\.1\..* in the checkpoint and missing in this"),
    ],
)
def test_a_checkpoint_of_another_student_is_refused(make_module, make_policy, save, fit, examples, fields, parameter):
    path = save(make_module(), [examples])
    with pytest.raises(ConfigError, match=f"another student or source: {parameter}"):
        fit(make_module(make_policy(0, **fields)), [examples], ckpt_path=path)


def test_a_checkpoint_of_another_kind_of_reference_is_refused(make_module, save, fit, examples):
    path = save(make_module(), [examples])
    with pytest.raises(ConfigError, match=r"reference\.weights\..* is missing in the checkpoint"):
        fit(make_module(reference="ema"), [examples], ckpt_path=path)


def test_of_a_student_with_adapters_they_alone_are_in_it_and_a_run_goes_on_from_them(
    make_module, models, save, fit, examples
):
    def make(seed=0):
        return make_module(
            load_lora_policy(models / "student", r=2, seed=seed), rollout=StudentRollout(max_new_tokens=8)
        )

    batches, whole = [examples[:2], examples[1:]], make()
    torch.manual_seed(0)
    fit(whole, batches, max_epochs=2)

    torch.manual_seed(0)
    path = save(make(), batches)
    checkpoint = load(path)
    names = {name for name in checkpoint["state_dict"] if not name.startswith("regime_counts.")}
    adapters = {f"student.{name}" for name, _ in whole.student.named_parameters() if "lora_" in name}
    assert names == adapters != set()
    assert len(checkpoint["optimizer_states"][0]["state"]) == len(adapters)

    resumed = make(seed=7)
    fit(resumed, batches, max_epochs=2, ckpt_path=path)
    for name, weight in whole.student.state_dict().items():
        assert torch.equal(resumed.student.state_dict()[name], weight), name
    assert any(
        not torch.equal(weight, checkpoint["state_dict"][name])
        for name, weight in whole.state_dict().items()
        if "lora_" in name
    ), "it learned on"
