from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from transformers import PreTrainedTokenizerFast

from dopd_lightning.data.collate import examples_of
from dopd_lightning.data.example import Example
from dopd_lightning.data.module import DOPDDataModule
from dopd_lightning.data.prompt_format import PromptFormat
from dopd_lightning.data.reasoning_gym import ReasoningGymDataset
from dopd_lightning.errors import ConfigError, DataError

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings(r"ignore:`isinstance\(treespec, LeafSpec\)` is deprecated:FutureWarning"),  # Lightning's
]


def numbered(size: int) -> list[Example]:
    return [{"prompt": str(n)} for n in range(size)]


def epoch(loader: Any) -> list[list[str]]:
    return [batch["prompt"] for batch in loader]


class Recorder(L.LightningModule):
    """Keeps the prompts that the Trainer hands it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: dict[str, list[list[str]]] = {"train": [], "val": [], "test": [], "predict": []}

    def _record(self, stage: str, batch: Any) -> None:
        self.seen[stage].append([str(example["prompt"]) for example in examples_of(batch)])

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        self._record("train", batch)
        return self.weight**2

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self._record("val", batch)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self._record("test", batch)

    def predict_step(self, batch: Any, batch_idx: int) -> int:
        self._record("predict", batch)
        return batch_idx

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trainer(folder: Path, **settings: Any) -> L.Trainer:
    quiet: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    return L.Trainer(accelerator="cpu", default_root_dir=folder, **quiet, **settings)


def test_training_batches_are_full_and_shuffled_anew_each_epoch_in_an_order_of_their_own() -> None:
    loader = DOPDDataModule(train=numbered(23), batch_size=5, seed=1).train_dataloader()
    first, second = epoch(loader), epoch(loader)
    for batches in (first, second):
        assert [len(batch) for batch in batches] == [5, 5, 5, 5]
        assert len({prompt for batch in batches for prompt in batch}) == 20
    assert first != second


def test_the_order_depends_on_the_seed_alone() -> None:
    def order(seed: int, num_workers: int = 0) -> list[list[str]]:
        data = DOPDDataModule(train=numbered(40), batch_size=8, seed=seed, num_workers=num_workers)
        loader = data.train_dataloader()
        return epoch(loader) + epoch(loader)

    torch.manual_seed(1)
    one = order(3)
    torch.manual_seed(2)
    torch.rand(7)
    assert order(3) == one
    assert order(3, num_workers=1) == order(3, num_workers=1)
    assert order(4) != one


def test_making_batches_leaves_the_global_generator_alone() -> None:
    """Sampling of responses uses it: data must not change what is sampled."""
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    loader = DOPDDataModule(train=numbered(40), batch_size=8).train_dataloader()
    epoch(loader)
    assert torch.equal(torch.rand(3), expected)


def test_other_sets_are_read_whole_and_in_order() -> None:
    data = DOPDDataModule(val=numbered(5), test=numbered(3), predict=numbered(2), batch_size=2, eval_batch_size=4)
    assert epoch(data.val_dataloader()) == [["0", "1", "2", "3"], ["4"]]
    assert epoch(data.test_dataloader()) == [["0", "1", "2"]]
    assert epoch(data.predict_dataloader()) == [["0", "1"]]
    assert epoch(DOPDDataModule(val=numbered(3), batch_size=2).val_dataloader()) == [["0", "1"], ["2"]]


def test_it_runs_in_a_trainer(tmp_path: Path) -> None:
    data = DOPDDataModule(
        train=ReasoningGymDataset("chain_sum", 8),
        val=ReasoningGymDataset("chain_sum", 3, "val"),
        test=ReasoningGymDataset("chain_sum", 3, "test"),
        predict=[{"prompt": "1 + 1?"}],
        batch_size=4,
    )
    model = Recorder()
    runner = trainer(tmp_path, max_epochs=1, enable_checkpointing=False, num_sanity_val_steps=0)
    runner.fit(model, data)
    runner.test(model, data, verbose=False)
    runner.predict(model, data)
    assert {stage: [len(batch) for batch in batches] for stage, batches in model.seen.items()} == {
        "train": [4, 4],
        "val": [3],
        "test": [3],
        "predict": [1],
    }


@pytest.mark.filterwarnings("ignore:Total length of `list` across ranks is zero")
def test_fit_works_without_a_validation_set(tmp_path: Path) -> None:
    model = Recorder()
    runner = trainer(tmp_path, max_epochs=1, enable_checkpointing=False)
    runner.fit(model, DOPDDataModule(train=numbered(4), batch_size=2))
    assert len(model.seen["train"]) == 2
    assert not model.seen["val"]


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_run_resumed_within_an_epoch_goes_on_as_if_never_stopped(tmp_path: Path, num_workers: int) -> None:
    class Saver(L.Callback):
        def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
            trainer.save_checkpoint(tmp_path / f"step={trainer.global_step}.ckpt")

    def fit(ckpt_path: Path | None = None) -> list[list[str]]:
        model = Recorder()
        data = DOPDDataModule(train=numbered(20), val=numbered(1), batch_size=4, seed=5, num_workers=num_workers)
        runner = trainer(tmp_path, max_steps=12, limit_val_batches=0, enable_checkpointing=False, callbacks=[Saver()])
        runner.fit(model, data, ckpt_path=ckpt_path)
        return model.seen["train"]

    whole = fit()
    assert len({tuple(batch) for batch in whole}) == 12
    for step in (3, 5, 7, 10):  # 5 batches an epoch: in the middle of it, and at its end
        assert fit(tmp_path / f"step={step}.ckpt") == whole[step:]


def test_a_stage_without_its_set_is_an_error(tmp_path: Path) -> None:
    data = DOPDDataModule(val=numbered(2))
    for run, name in (("fit", "train"), ("test", "test"), ("predict", "predict")):
        with pytest.raises(
            ConfigError, match=rf"data\.{name}: this stage needs examples, and there are none .*given: val"
        ):
            getattr(trainer(tmp_path, max_epochs=1), run)(Recorder(), data)
    with pytest.raises(ConfigError, match=r"data\.val: .* \(sets given: none\)"):
        trainer(tmp_path).validate(Recorder(), DOPDDataModule())
    with pytest.raises(ConfigError, match=r"data\.train"):
        data.train_dataloader()


def test_a_training_set_smaller_than_a_batch_is_an_error() -> None:
    with pytest.raises(DataError, match="train: 3 examples do not fill one batch of 4; lower batch_size or add data"):
        DOPDDataModule(train=numbered(3), batch_size=4)
    DOPDDataModule(train=numbered(4), batch_size=4)


@pytest.mark.parametrize("setting", ["batch_size", "eval_batch_size"])
def test_sizes_are_checked(setting: str) -> None:
    size: dict[str, Any] = {setting: -1}
    with pytest.raises(ConfigError, match=f"{setting}: -1 must be at least 1"):
        DOPDDataModule(**size)


def test_a_stream_is_no_set() -> None:
    with pytest.raises(ConfigError, match="val: list_iterator must be map-style"):
        DOPDDataModule(val=iter(numbered(2)))  # type: ignore[arg-type]


def test_prompts_of_all_sets_are_checked(tokenizer: PreTrainedTokenizerFast, caplog: pytest.LogCaptureFixture) -> None:
    short: list[Example] = [{"prompt": "x"}] * 4
    mixed: list[Example] = [*short, {"prompt": "x" * 11}]
    with pytest.raises(DataError, match=r"test: 1 of 5 prompts are longer than max_tokens=10 .* index 4"):
        DOPDDataModule(train=short, test=mixed, batch_size=4).check_prompts(PromptFormat(max_tokens=10), tokenizer)
    data = DOPDDataModule(train=mixed, val=short, batch_size=4)
    with caplog.at_level(logging.WARNING):
        data.check_prompts(PromptFormat(max_tokens=10, overlong="drop"), tokenizer)
    assert epoch(data.train_dataloader()) == [["x"] * 4]
    assert "train: 1 of 5" in caplog.text


def test_too_few_prompts_left_to_train_on_is_an_error(tokenizer: PreTrainedTokenizerFast) -> None:
    data = DOPDDataModule(train=[{"prompt": "x" * n} for n in range(8, 13)], batch_size=5)
    with pytest.raises(DataError, match="train: 3 examples do not fill one batch of 5"):
        data.check_prompts(PromptFormat(max_tokens=10, overlong="drop"), tokenizer)
