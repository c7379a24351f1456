"""A Weights & Biases run, written offline, read back from its own file."""

from __future__ import annotations

import json
import struct
import time
from collections import defaultdict

import lightning as L
import numpy as np
import pytest
import torch
import wandb
from lightning.pytorch.loggers import WandbLogger
from PIL import Image
from torch.utils.data import DataLoader
from wandb.proto.wandb_internal_pb2 import Record

from dopd_lightning.callbacks import DivergenceMap
from dopd_lightning.fusion import DOPD
from dopd_lightning.maps import columns
from dopd_lightning.rollout import StudentRollout
from dopd_lightning.training.module import DOPDModule

COLUMNS = columns(["teacher", "reference"])

WHOLE, LAST = 1, 4
"""Kinds of pieces of LevelDB's log format: a whole record, and the last piece of one."""


def records(path):
    """Records that W&B wrote, in LevelDB's log format: a header of 7 bytes and blocks of 32 KiB."""
    data, at, block, whole = path.read_bytes(), 7, 2**15, b""
    while at < len(data):
        if block - at % block < 7:  # no room for a header: padding
            at += block - at % block
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (WHOLE, LAST):
            record = Record()
            record.ParseFromString(whole)
            yield record
            whole = b""


def history(path):
    """Logged values in order, by name; of nested ones, the dicts."""
    found = defaultdict(list)
    for record in records(path):
        if record.WhichOneof("record_type") == "history":
            step = {}
            for item in record.history.item:
                name, *rest = item.nested_key or [item.key]
                value = json.loads(item.value_json)
                step.setdefault(name, {}).update({rest[0]: value}) if rest else step.update({name: value})
            for name, value in step.items():
                found[name].append((step.get("trainer/global_step"), value))
    return found


@pytest.fixture(scope="module")
def logged(make_policy, tokenizer, tmp_path_factory):
    """The callback, the history, and the folder of the files of a run of three steps."""
    folder = tmp_path_factory.mktemp("wandb")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
            patch.setenv(name, str(folder))
        patch.setenv("WANDB_SILENT", "true")
        rollout = StudentRollout(max_new_tokens=6, samples_per_prompt=1)
        module = DOPDModule(make_policy(0), make_policy(1), fusion=DOPD(top_k=8), rollout=rollout, tokenizer=tokenizer)
        maps = DivergenceMap(folder, every_n_steps=2, prompts=1, fresh=1)
        settings = wandb.Settings(silent=True)
        logger = WandbLogger(save_dir=folder, project="test", offline=True, settings=settings)
        trainer = L.Trainer(
            accelerator="cpu",
            logger=logger,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=folder,
            max_steps=3,
            max_epochs=-1,
            log_every_n_steps=1,
            callbacks=[maps],
        )
        batch = [{"prompt": "Add 1 2.", "privileged": "first 1"}, {"prompt": "Add 3.", "privileged": "3"}]
        trainer.fit(module, DataLoader([batch], batch_size=None, generator=torch.Generator()))
        logger.experiment.finish()
    (run,) = folder.glob("wandb/offline-run-*")
    (path,) = run.glob("*.wandb")
    for _ in range(100):  # another process writes it
        if not any(record.WhichOneof("record_type") == "exit" for record in records(path)):
            time.sleep(0.2)
    return maps, history(path), run / "files"


def tokens(maps):
    return sum(len(response.token_ids) for snapshot in maps.snapshots for response in snapshot.responses)


def test_means_are_in_the_history_at_their_steps(logged):
    maps, found, _ = logged
    assert [step for step, _ in found["map/gap"]] == [0, 2, 3]
    gaps = [snapshot.responses[0].quantities["gap"].mean() for snapshot in maps.snapshots]
    np.testing.assert_allclose([value for _, value in found["map/gap"]], gaps, rtol=1e-5)


def test_the_table_grows_by_increments(logged):
    maps, found, files = logged
    entries = [value for _, value in found["map/tokens"]]
    assert {entry["log_mode"] for entry in entries} == {"INCREMENTAL"}
    assert [entry["increment_num"] for entry in entries] == [0, 1, 2]
    increments = [json.loads((files / entry["path"]).read_text()) for entry in entries]
    assert all(each["columns"] == COLUMNS for each in increments)
    assert sum(len(each["data"]) for each in increments) == tokens(maps), "each row is written once"


def test_the_final_copy_is_whole_and_immutable(logged):
    maps, found, files = logged
    ((step, entry),) = found["map/all_tokens"]
    assert (step, entry["log_mode"]) == (3, "IMMUTABLE")
    data = json.loads((files / entry["path"]).read_text())["data"]
    assert len(data) == tokens(maps)
    gap, token = COLUMNS.index("gap"), COLUMNS.index("token_id")
    expected = [response for snapshot in maps.snapshots for response in snapshot.responses]
    assert [row[token] for row in data] == np.concatenate([each.token_ids for each in expected]).tolist()
    gaps = np.concatenate([each.quantities["gap"] for each in expected])
    np.testing.assert_allclose([row[gap] for row in data], gaps, rtol=1e-5)


def test_page_and_picture_are_there_at_each_step(logged):
    _, found, files = logged
    assert [step for step, _ in found["map/page"]] == [step for step, _ in found["map/heatmap"]] == [0, 2, 3]
    for _, entry in found["map/page"]:
        assert entry["_type"] == "html-file"
        assert (files / entry["path"]).read_text().startswith("<!doctype html>")
    for _, entry in found["map/heatmap"]:
        with Image.open(files / entry["path"]) as picture:
            assert picture.format == "PNG"
            assert picture.width == entry["width"] > 100
