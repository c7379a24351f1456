"""A scheduler knows how many steps there will be, or needs not."""

from __future__ import annotations

from functools import partial

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from torch.utils.data import DataLoader, IterableDataset
from transformers import get_linear_schedule_with_warmup, get_scheduler

from dopd_lightning.data import collate
from dopd_lightning.errors import ConfigError
from dopd_lightning.fusion import Data
from dopd_lightning.rollout import DatasetRollout
from dopd_lightning.training.module import DOPDModule

EXAMPLES = [{"prompt": "Add 1 2.", "completion": "3"}] * 6


class Stream(IterableDataset):
    def __iter__(self):
        yield from EXAMPLES


class Rates(L.Callback):
    """Learning rates that steps were taken with, relative to the optimizer's."""

    def __init__(self):
        self.found = []

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        self.found.append(trainer.optimizers[0].param_groups[0]["lr"])


@pytest.fixture
def rates(make_policy, tokenizer, tmp_path):
    """Train on a stream (or what is given) for 6 batches at most; return the learning rates."""

    def train(scheduler, data=None, callbacks=(), **limits):
        found = Rates()
        module = DOPDModule(
            make_policy(0),
            fusion=Data(),
            rollout=DatasetRollout(),
            tokenizer=tokenizer,
            optimizer=lambda parameters: torch.optim.SGD(parameters, lr=1.0),
            scheduler=scheduler,
        )
        trainer = L.Trainer(
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=tmp_path,
            callbacks=[found, *callbacks],
            **limits,
        )
        data = Stream() if data is None else data
        trainer.fit(module, DataLoader(data, batch_size=1, collate_fn=collate, generator=torch.Generator()))
        return found.found

    return train


NEED_THE_NUMBER = {
    "cosine": partial(get_scheduler, "cosine", num_warmup_steps=0),
    "linear, late": partial(get_linear_schedule_with_warmup, num_warmup_steps=100),
}


@pytest.mark.parametrize("scheduler", NEED_THE_NUMBER.values(), ids=NEED_THE_NUMBER)
@pytest.mark.parametrize("limits", [{"max_epochs": 1}, {"max_epochs": -1, "max_time": "00:00:00:10"}], ids=str)
def test_a_stream_without_max_steps_is_refused_where_the_scheduler_needs_their_number(rates, scheduler, limits):
    with pytest.raises(
        ConfigError,
        match=r"trainer\.max_steps: -1; the scheduler needs the number of optimizer steps, .* give trainer\.max",
    ):
        rates(scheduler, **limits)


def test_max_steps_is_enough_for_a_stream(rates):
    linear = partial(get_scheduler, "linear", num_warmup_steps=0)
    assert rates(linear, max_epochs=-1, max_steps=4) == [1.0, 0.75, 0.5, 0.25]


def test_a_constant_rate_needs_no_number(rates):
    warm = partial(get_scheduler, "constant_with_warmup", num_warmup_steps=2)
    assert rates(warm, max_epochs=1) == [0.0, 0.5, 1.0, 1.0, 1.0, 1.0]


def test_accumulation_that_changes_leaves_the_number_open(rates):
    changing = [GradientAccumulationScheduler({0: 1, 1: 3})]
    with pytest.raises(ConfigError, match=r"trainer\.max_steps: -1; the scheduler needs the number of optimizer steps"):
        rates(NEED_THE_NUMBER["cosine"], EXAMPLES, changing, max_epochs=2)
