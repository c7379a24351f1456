"""The guard's warnings and stops, on runs whose metrics tell of a collapse."""

from __future__ import annotations

import warnings

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader

from dopd_lightning.callbacks import CollapseGuard, ResumableCheckpoint
from dopd_lightning.errors import ConfigError
from dopd_lightning.fusion import DOPD
from dopd_lightning.rollout import StudentRollout
from dopd_lightning.training.module import DOPDModule

EXAMPLES = [{"prompt": "Add 1 2.", "privileged": "first 1", "answer": "3"}]
FINE = {"train/entropy/student": 1.0, "train/response/cut_share": 0.1, "train/share/LH": 0.6}


@pytest.fixture
def run(make_policy, tokenizer, tmp_path):
    """Train with a guard while the metrics are ``steps`` and the accuracies ``validations``; return the Trainer."""

    class Told(DOPDModule):
        """Module whose metrics are those of the test."""

        def training_step(self, batch, batch_idx):
            self.log_dict(FINE | next(self.steps), batch_size=1)
            return sum(weight.sum() for weight in self.student.parameters())

        def validation_step(self, batch, batch_idx):
            self.log("val/accuracy", next(self.answered), batch_size=1)

    def train(guard, steps, accuracies=(), extra=(), ckpt_path=None, val_check_interval=1):
        rollout = StudentRollout(max_new_tokens=3, samples_per_prompt=1)
        module = Told(make_policy(0), make_policy(1), fusion=DOPD(top_k=8), rollout=rollout, tokenizer=tokenizer)
        module.steps, module.answered = iter(steps), iter(accuracies)
        trainer = L.Trainer(
            accelerator="cpu",
            logger=False,
            enable_checkpointing=bool(extra),
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=tmp_path,
            max_epochs=1,
            callbacks=[guard, *extra],
            num_sanity_val_steps=0,
            val_check_interval=val_check_interval,
        )
        loaders = [DataLoader(EXAMPLES * len(steps), batch_size=None, generator=torch.Generator())]
        loaders += [DataLoader(EXAMPLES, batch_size=None, generator=torch.Generator())] if accuracies else []
        trainer.fit(module, *loaders, ckpt_path=ckpt_path, weights_only=True if ckpt_path else None)
        return trainer

    return train


def heard(run, *args, **options):
    """The guard's warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run(*args, **options)
    return [str(each.message) for each in caught if str(each.message).startswith("step ")]


def test_a_healthy_run_hears_nothing(run):
    assert heard(run, CollapseGuard(window=2), [{}] * 6, accuracies=[0.1, 0.3, 0.2, 0.3, 0.2, 0.4]) == []


@pytest.mark.parametrize(
    ("sick", "words"),
    [
        ({"train/entropy/student": 0.1}, ["entropy is 0.1 nats", "10% of the 1 at the start", "last 2 steps"]),
        ({"train/response/cut_share": 0.8}, ["80% of the responses", "limit of 3 tokens", "10% at the start"]),
        ({"train/share/LH": 0.99}, ["99.0% of the response tokens", "regime LH", "60.0% at the start"]),
    ],
)
def test_each_sign_is_said_once_with_the_step_and_the_figures(run, sick, words):
    (said,) = heard(run, CollapseGuard(window=2), [{}] * 3 + [sick] * 4)
    assert said.startswith("step 5: ")  # the second batch of the sick ones fills the window
    assert all(word in said for word in words)


def test_what_passes_and_comes_back_is_said_again(run):
    low = {"train/entropy/student": 0.1}
    assert len(heard(run, CollapseGuard(window=1), [{}, low, low, {}, low])) == 2


def test_what_was_so_from_the_start_is_no_collapse(run):
    at_limit = {"train/response/cut_share": 1.0, "train/share/LH": 1.0}
    assert heard(run, CollapseGuard(window=1), [at_limit] * 4) == []


def test_accuracy_that_falls_validation_after_validation(run):
    said = heard(run, CollapseGuard(validations=2), [{}] * 5, accuracies=[0.5, 0.6, 0.5, 0.4, 0.3])
    assert [text.split(":")[0] for text in said] == ["step 4"]
    assert "in 2 validations, one after the other: 60.0%, 50.0%, 40.0%" in said[0]


def test_accuracy_that_is_lost_and_does_not_come_back(run):
    said = heard(run, CollapseGuard(), [{}] * 6, accuracies=[0.4, 0.5, 0.2, 0.5, 0.1, 0.2])
    assert [text.split(":")[0] for text in said] == ["step 6"], "once may be chance"
    assert "10.0% and 20.0% in the last two validations, and 50.0% in the best" in said[0]


def test_a_stop_leaves_a_checkpoint(run, tmp_path):
    with pytest.warns(match="training stops here"):
        trainer = run(CollapseGuard(window=1, stop=True), [{}, {}] + [{"train/entropy/student": 0.1}] * 5)
    assert trainer.global_step == 3
    assert torch.load(tmp_path / "collapsed_step=3.ckpt", weights_only=True)["global_step"] == 3


def test_a_stop_leaves_saving_to_who_saves_anyhow(run, tmp_path):
    keeper = ResumableCheckpoint(tmp_path / "kept", every_n_steps=100)
    with pytest.warns(match="training stops here"):
        run(CollapseGuard(window=1, stop=True), [{}] + [{"train/entropy/student": 0.1}] * 5, extra=[keeper])
    assert [path.name for path in sorted(tmp_path.rglob("*.ckpt"))] == ["last.ckpt", "step=2.ckpt"]


def test_a_run_that_goes_on_remembers_its_start(run, tmp_path):
    run(CollapseGuard(window=1), [{}] * 2, extra=[ResumableCheckpoint(tmp_path, every_n_steps=1)])
    guard = CollapseGuard(window=1)
    guard.load_state_dict(torch.load(tmp_path / "step=2.ckpt", weights_only=True)["callbacks"]["CollapseGuard"])
    (said,) = heard(run, guard, [{"train/entropy/student": 0.1}])
    assert "10% of the 1 at the start" in said


@pytest.mark.parametrize(
    "option", ["window", "entropy_share", "cut_share", "regime_share", "validations", "accuracy_share"]
)
def test_options_out_of_range_are_named(option):
    with pytest.raises(ConfigError, match=option):
        CollapseGuard(**{option: 0})
