"""Gradient accumulation: a step of several micro-batches learns and logs what one of a larger batch would."""

from __future__ import annotations

import csv

import pytest
import torch
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader, IterableDataset

from dopd_lightning.divergence import Divergence, Term
from dopd_lightning.errors import ConfigError, DataError
from dopd_lightning.fusion import Supervision, Teacher
from tests.training.steps import distance, sgd, weights


def test_two_accumulated_micro_batches_are_one_batch(make_module, fit, examples):
    ends = []
    for batches, accumulate in (([examples[:2]], 1), ([examples[:1], examples[1:2]], 2)):
        module = make_module(fusion=Teacher(), optimizer=sgd)
        start = weights(module.student)
        fit(module, batches, accumulate_grad_batches=accumulate)
        ends.append(weights(module.student))
        assert distance(start, ends[-1]) > 0.1
    for name, whole in ends[0].items():
        torch.testing.assert_close(ends[1][name], whole, rtol=1e-3, atol=1e-4, msg=name)


def test_a_mean_over_tokens_is_refused_under_accumulation(make_module, fit, examples):
    for options in ({"accumulate_grad_batches": 2}, {"callbacks": [GradientAccumulationScheduler({0: 1, 1: 2})]}):
        with pytest.raises(ConfigError, match="'token' with accumulate_grad_batches=2 would be a mean of"):
            fit(make_module(reduction="token"), [examples] * 2, **options)


class Stream(IterableDataset):
    """Batches of which nobody knows how many there are."""

    def __init__(self, batches):
        self.batches = batches

    def __iter__(self):
        yield from self.batches


@pytest.mark.parametrize("form", [list, Stream])
def test_micro_batches_left_over_at_the_end_of_an_epoch_make_a_step_of_their_own_mean(
    make_module, make_trainer, examples, form
):
    """2 + 1 micro-batches of one kind: each of the two steps has the gradient of one of them."""
    norms = []

    class Module(type(make_module())):
        def on_before_optimizer_step(self, optimizer):
            norms.append(torch.stack([weight.grad.norm() for weight in self.student.parameters()]).norm().item())

    module = make_module(fusion=Teacher(), optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.0))
    module.__class__ = Module
    loader = DataLoader(form([examples[:2]] * 3), batch_size=None, generator=torch.Generator())
    make_trainer(accumulate_grad_batches=2).fit(module, loader)
    assert norms[1] == pytest.approx(norms[0], rel=1e-5)


def test_a_step_that_was_broken_off_leaves_nothing_for_the_next_fit(make_module, fit, examples):
    ends = []
    for broken_off in (False, True):
        module = make_module(fusion=Teacher(), optimizer=sgd)
        if broken_off:
            with pytest.raises(DataError, match="no example"):
                fit(module, [examples[:1], []], accumulate_grad_batches=3)
        trainer = fit(module, [examples[:2]] * 3, accumulate_grad_batches=3)
        ends.append((weights(module.student), trainer.logged_metrics["train/loss"]))
    assert distance(ends[0][0], ends[1][0]) == 0
    assert ends[0][1] == ends[1][1]


class FirstRegimeOnce:
    """All tokens of the first two micro-batches are in LL, all later ones in HT."""

    needs = frozenset({"teacher"})

    def __init__(self):
        self.calls = 0

    def __call__(self, statistics):
        self.calls += 1
        regime = 1 if self.calls <= 2 else 2
        regimes = torch.where(statistics.mask, regime, -1)
        return Supervision([Term("all", "teacher", Divergence(), statistics.mask.float())], regimes)


@pytest.fixture
def logged(make_module, make_trainer, tmp_path):
    """Rows of the CSV that a run of one epoch leaves, empty cells left out."""

    def rows(batches, fusion, **options):
        module = make_module(fusion=fusion)
        module.fusion.calls = 0
        trainer = make_trainer(logger=CSVLogger(tmp_path, name="", version="csv"), log_every_n_steps=1, **options)
        trainer.fit(module, DataLoader(batches, batch_size=None, generator=torch.Generator()))
        text = (tmp_path / "csv" / "metrics.csv").read_text()
        return [
            {name: float(value) for name, value in row.items() if value} for row in csv.DictReader(text.splitlines())
        ]

    return rows


def test_logged_are_means_over_the_tokens_and_rollouts_of_all_micro_batches(logged, examples):
    """Completions of 2 and 8 tokens in one step, of 1 in the next."""
    micro_batches = [examples[:1], examples[1:2], examples[2:]]
    first, second = logged(micro_batches, FirstRegimeOnce(), accumulate_grad_batches=2)
    assert first["train/response/length"] == 5
    assert first["train/response/eos_share"] == 0.5
    assert second["train/response/length"] == 1


def test_a_regime_without_a_token_in_this_step_has_no_value_of_an_earlier_one(logged, examples):
    first, _, third = logged([examples] * 3, FirstRegimeOnce())
    assert first["train/share/LL"] == 1
    assert first["train/loss/LL"] > 0
    assert third["train/share/LL"] == 0
    assert "train/loss/LL" not in third
    assert third["train/loss/HT"] > 0
