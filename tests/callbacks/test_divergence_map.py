"""Maps against records made by hand, and runs with and without them."""

from __future__ import annotations

import csv
import warnings

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch.utils.data import DataLoader
from torchdata.stateful_dataloader import StatefulDataLoader

from dopd_lightning.callbacks import DivergenceMap, ResumableCheckpoint
from dopd_lightning.errors import ConfigError
from dopd_lightning.fusion import DOPD, Data
from dopd_lightning.maps import Snapshot
from dopd_lightning.rollout import StudentRollout
from dopd_lightning.training.module import DOPDModule

EXAMPLES = [{"prompt": f"Add {n} 2.", "privileged": f"first {n}", "answer": str(n + 2)} for n in range(4)]
HELD_OUT = [{"prompt": [{"role": "user", "content": f"Sum {n}?"}], "privileged": "+", "answer": 1} for n in range(3)]


@pytest.fixture
def run(make_policy, tokenizer, tmp_path):
    """Train for some steps of two prompts with two rollouts each, and return the Trainer."""

    def fit(*callbacks, steps=4, fusion=None, held_out=(), logger=False, ckpt_path=None, accumulate=1):
        torch.manual_seed(1)
        rollout = StudentRollout(max_new_tokens=6, samples_per_prompt=2)
        fusion = DOPD(top_k=8) if fusion is None else fusion
        module = DOPDModule(make_policy(0), make_policy(1), fusion=fusion, rollout=rollout, tokenizer=tokenizer)
        trainer = L.Trainer(
            accelerator="cpu",
            logger=logger,
            enable_checkpointing=any(isinstance(each, ResumableCheckpoint) for each in callbacks),
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=tmp_path,
            max_steps=steps,
            max_epochs=-1,
            log_every_n_steps=1,
            callbacks=list(callbacks),
            num_sanity_val_steps=0,
            accumulate_grad_batches=accumulate,
        )
        batches = [EXAMPLES[:2], EXAMPLES[2:]]
        loaders = [StatefulDataLoader(batches, batch_size=None, generator=torch.Generator())]
        loaders += [DataLoader(held_out, batch_size=None, generator=torch.Generator())] if held_out else []
        trainer.fit(module, *loaders, ckpt_path=ckpt_path, weights_only=True if ckpt_path else None)
        return trainer

    return fit


def weights(trainer):
    return [weight.detach().clone() for weight in trainer.lightning_module.student.parameters()]


def test_there_is_a_map_before_the_first_step_every_so_many_and_after_the_last(run, tmp_path):
    maps = DivergenceMap(every_n_steps=2, prompts=2, fresh=1)
    run(maps, steps=5)
    assert [snapshot.step for snapshot in maps.snapshots] == [0, 2, 4, 5]
    assert sorted(path.name for path in (tmp_path / "divergence_map").iterdir()) == [
        f"step={step}.npz" for step in (0, 2, 4, 5)
    ]
    page = (tmp_path / "divergence_map.html").read_text()
    assert page.startswith("<!doctype html>")
    kinds = [[response.fixed for response in snapshot.responses] for snapshot in maps.snapshots]
    assert kinds == [[True, True, False]] * 3 + [[True, True]], "after the last step there are no fresh ones"


def test_a_run_with_maps_trains_as_one_without(run):
    plain, mapped = weights(run()), weights(run(DivergenceMap(every_n_steps=1)))
    for ours, theirs in zip(mapped, plain, strict=True):
        assert torch.equal(ours, theirs)


def test_fresh_rollouts_are_those_that_were_trained_on(run):
    class Keep(L.Callback):
        records = ()

        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            self.records = [*self.records, outputs["record"]]

    maps, keep = DivergenceMap(every_n_steps=2, fresh=2, prompts=0), Keep()
    run(maps, keep, steps=3)
    for snapshot in maps.snapshots:
        record = keep.records[snapshot.step]
        for response, row in zip(snapshot.responses, (0, 2), strict=True):  # the first of each prompt's two
            kept = record.mask[row]
            assert response.prompt == record.examples[row]["prompt"]
            assert response.privileged == record.examples[row]["privileged"]
            assert response.token_ids.tolist() == record.response_ids[row][kept].tolist()
            assert response.regimes.tolist() == record.regimes[row][kept].tolist()
            quantities = {
                "gap": record.gap,
                "loss": record.loss,
                "student_probability": record.student_logp.exp(),
                "teacher_probability": record.teacher_logp.exp(),
                "reference_probability": record.reference_logp.exp(),
                "student_entropy": record.student_entropy,
                "teacher_entropy": record.teacher_entropy,
                "reference_entropy": record.reference_entropy,
            }
            for name, values in quantities.items():
                np.testing.assert_allclose(response.quantities[name], values[row][kept], err_msg=name)
            assert (response.quantities["teacher_divergence"] > 0).all()
            assert set(response.alternatives) == {"student", "teacher", "reference"}


def test_fixed_prompts_are_the_first_of_the_validation_set_and_stay(run):
    maps = DivergenceMap(every_n_steps=1, prompts=2, fresh=0)
    run(maps, steps=2, held_out=HELD_OUT)
    for snapshot in maps.snapshots:
        assert [response.prompt for response in snapshot.responses] == ["user: Sum 0?", "user: Sum 1?"]
        assert [response.number for response in snapshot.responses] == [0, 1]


def test_without_a_validation_set_they_are_the_first_of_the_first_batch(run):
    maps = DivergenceMap(every_n_steps=1, prompts=3, fresh=0)
    run(maps, steps=2)
    assert [[response.prompt for response in s.responses] for s in maps.snapshots] == [["Add 0 2.", "Add 1 2."]] * 3


def test_fixed_prompts_are_routed_by_the_training_steps_thresholds(run, monkeypatch):
    asked = []
    observe = DOPDModule.observe

    def watched(module, examples, alternatives, thresholds):
        asked.append(thresholds)
        return observe(module, examples, alternatives, thresholds)

    class Keep(L.Callback):
        found = ()

        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            self.found = [*self.found, outputs["record"].thresholds]

    monkeypatch.setattr(DOPDModule, "observe", watched)
    keep = Keep()
    run(DivergenceMap(every_n_steps=1), keep, steps=2)
    assert asked == [None, *keep.found]


def test_a_step_of_several_batches_has_one_map(run):
    maps = DivergenceMap(every_n_steps=1)
    run(maps, steps=2, accumulate=2)
    assert [snapshot.step for snapshot in maps.snapshots] == [0, 1, 2]


def test_a_rule_without_sources_has_a_map_of_what_there_is(run):
    maps = DivergenceMap(every_n_steps=1)
    run(maps, steps=1, fusion=Data())
    response = maps.snapshots[0].responses[0]
    assert set(response.quantities) == {"student_probability", "student_entropy", "loss"}
    assert set(response.alternatives) == {"student"}
    assert set(response.regimes.tolist()) == {-1}


def test_files_hold_what_the_callback_holds(run, tmp_path):
    maps = DivergenceMap(every_n_steps=1)
    run(maps, steps=1)
    for snapshot in maps.snapshots:
        read = Snapshot.load(tmp_path / "divergence_map" / f"step={snapshot.step}.npz")
        assert read.pieces == snapshot.pieces
        assert [response.prompt for response in read.responses] == [response.prompt for response in snapshot.responses]


def test_a_run_that_goes_on_has_the_earlier_maps_too(run, tmp_path):
    whole = DivergenceMap(tmp_path / "whole", every_n_steps=2)
    run(whole, steps=5)
    run(
        DivergenceMap(tmp_path / "first", every_n_steps=2),
        ResumableCheckpoint(tmp_path / "saved", every_n_steps=3, keep=9),
        steps=5,
    )
    second = DivergenceMap(tmp_path / "second", every_n_steps=2)
    run(second, ResumableCheckpoint(tmp_path / "more"), steps=5, ckpt_path=tmp_path / "saved" / "step=3.ckpt")
    assert [snapshot.step for snapshot in second.snapshots] == [0, 2, 4, 5]
    for ours, theirs in zip(second.snapshots, whole.snapshots, strict=True):
        for mine, other in zip(ours.responses, theirs.responses, strict=True):
            assert mine.token_ids.tolist() == other.token_ids.tolist()
            assert mine.regimes.tolist() == other.regimes.tolist()
            np.testing.assert_array_equal(mine.quantities["loss"], other.quantities["loss"])


def test_one_that_goes_on_for_less_than_the_interval_has_the_last_map(run, tmp_path):
    run(DivergenceMap(every_n_steps=50), ResumableCheckpoint(tmp_path / "saved", every_n_steps=3, keep=9), steps=5)
    second = DivergenceMap(every_n_steps=50)
    run(second, ResumableCheckpoint(tmp_path / "more"), steps=5, ckpt_path=tmp_path / "saved" / "step=3.ckpt")
    assert [snapshot.step for snapshot in second.snapshots] == [0, 5]


def test_earlier_maps_that_are_gone_are_said_to_be(run, tmp_path):
    run(DivergenceMap(tmp_path / "first", every_n_steps=1), ResumableCheckpoint(tmp_path / "saved"), steps=2)
    (tmp_path / "first" / "divergence_map" / "step=1.npz").unlink()
    second = DivergenceMap(tmp_path / "second", every_n_steps=1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run(second, ResumableCheckpoint(tmp_path / "more"), steps=3, ckpt_path=tmp_path / "saved" / "last.ckpt")
    assert any("leaves out 1 earlier steps: there is no" in str(each.message) for each in caught)
    assert [snapshot.step for snapshot in second.snapshots] == [0, 2, 3]


def test_means_go_to_every_logger(run, tmp_path):
    maps = DivergenceMap(every_n_steps=2, prompts=2)
    run(maps, steps=2, logger=CSVLogger(tmp_path, name="", version="csv"))
    rows = list(csv.DictReader((tmp_path / "csv" / "metrics.csv").read_text().splitlines()))
    gaps = {int(row["step"]): float(row["map/gap"]) for row in rows if row["map/gap"]}
    for snapshot in maps.snapshots:
        fixed = [response for response in snapshot.responses if response.fixed]
        expected = np.concatenate([response.quantities["gap"] for response in fixed]).mean()
        assert gaps[snapshot.step] == pytest.approx(expected, rel=1e-5)


def test_tensorboard_has_the_picture_and_the_texts(run, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run(DivergenceMap(every_n_steps=2, prompts=2), steps=2, logger=TensorBoardLogger(tmp_path, name="", version="tb"))
    events = EventAccumulator(str(tmp_path / "tb"))
    events.Reload()
    assert [event.step for event in events.Images("map/heatmap")] == [0, 2]
    assert events.Images("map/heatmap")[0].encoded_image_string.startswith(b"\x89PNG")
    (text,) = events.Tensors("map/response_1/text_summary")[0].tensor_proto.string_val
    assert text.decode().startswith("    Add 0 2.\n    \n    ")
    assert "map/gap" in events.Tags()["scalars"]


@pytest.mark.parametrize(
    ("option", "value"),
    [("every_n_steps", 0), ("prompts", -1), ("fresh", -1), ("alternatives", 0), ("page_limit", 0)],
)
def test_options_out_of_range_are_named(option, value):
    with pytest.raises(ConfigError, match=option):
        DivergenceMap(**{option: value})
