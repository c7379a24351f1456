"""The stages: fit, validate, test, predict, export; and privilege and compare, which build no policies."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from difflib import get_close_matches
from itertools import chain
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.loggers import WandbLogger
from omegaconf import DictConfig, OmegaConf

from dopd_lightning.callbacks import ExportStudent, save_student
from dopd_lightning.cli.build import Run, build
from dopd_lightning.cli.compare import compare
from dopd_lightning.cli.find_checkpoint import checkpoints_of, load_first
from dopd_lightning.cli.instantiate import check_complete, references_named
from dopd_lightning.cli.own_folder import check_nothing_is_lost, clear_killed_attempts, own_folder
from dopd_lightning.cli.privilege import privilege
from dopd_lightning.cli.removed_groups import fill_absent
from dopd_lightning.cli.same_run import check_same_run
from dopd_lightning.cli.summary import Summary, at_max_epochs, take_tally, write_config
from dopd_lightning.cli.top_level_keys import check_own_keys
from dopd_lightning.cli.trainer import make_trainer
from dopd_lightning.errors import ConfigError, check_choice
from dopd_lightning.io.files import json_line, write_whole
from dopd_lightning.loggers import CSVLogger, continue_loggers

log = logging.getLogger(__name__)

Metrics = dict[str, float]


def run_stage(config: DictConfig) -> float | None:
    """Run ``config.stage`` and return the metric that ``config.objective`` names, if the stage measured it.

    Raises:
        ConfigError, DataError: before models load where that is possible.
    """
    with references_named():
        stage = check_choice("stage", config.stage, [*_STAGES, *_WITHOUT_POLICIES])
        if stage in _WITHOUT_POLICIES:  # models need not be there
            check_own_keys(config)
            _WITHOUT_POLICIES[stage](config)
            return None
        fill_absent(config)
        check_complete(config)
        check_own_keys(config)
        if config.stage == "export" and config.ckpt_path is None:
            raise ConfigError("ckpt_path: stage=export needs the checkpoint to export; give ckpt_path=<file>.ckpt")
        with own_folder(config):
            return _run(_STAGES[stage], config)


def _run(stage: Callable[[Run], Metrics], config: DictConfig) -> float | None:
    if config.ckpt_path is not None and config.stage == "fit":
        clear_killed_attempts([Path(config.paths.runs) / config.name])
    candidates = checkpoints_of(config)
    first = next(candidates, None)  # what is wrong with it is said before models load
    if first is None or config.stage != "fit":
        check_nothing_is_lost(Path(config.paths.output_dir), config.stage)
    L.seed_everything(config.seed, workers=True, verbose=False)
    run = build(config)
    found = None if first is None else load_first(run.module, chain([first], candidates), config)
    config.ckpt_path = None if found is None else str(found[0])
    checkpoint = None if found is None else found[1]
    if checkpoint is not None:  # before anything is evaluated
        if config.stage == "fit":
            check_same_run(checkpoint, config, run.trainer, run.data)
        if config.stage == "export":  # in the other stages the Trainer does
            run.module.load_state_dict(checkpoint["state_dict"])
    if config.stage == "fit":
        continue_loggers(run.trainer.loggers, checkpoint)
    if run.trainer.is_global_zero:  # processes that write it together would take the file from each other
        write_config(config, run.folder)
    try:
        if config.stage != "export":
            _tell_loggers(run)
        metrics = stage(run)
    finally:
        _end_wandb(run)
    if config.stage == "fit" and config.objective is not None and config.objective not in metrics:
        near = get_close_matches(str(config.objective), metrics, n=3, cutoff=0)
        log.warning("objective: this run measured no %r; nearest to it is %s", config.objective, " or ".join(near))
    return metrics.get(config.objective)


def fit(run: Run) -> Metrics:
    """Train, with accuracies on ``data.test`` before and after, a summary, and the student in Hugging Face format."""
    evaluate, has_test = run.config.evaluate, run.data.sets["test"] is not None
    summary = Summary(problems=len(run.data.sets["test"]) if run.data.sets["test"] is not None else 0)
    if has_test and evaluate.teacher and run.module.teacher is not None:
        summary.accuracy["teacher"] = _accuracy(run, "teacher")
    elif has_test and evaluate.teacher and "teacher" in run.module.sources:
        log.warning("evaluate.teacher: the teacher is made of several policies, and only one can answer: left out")
    if has_test and evaluate.student_before:
        summary.accuracy["student_before"] = _accuracy(run, "student")
    start = time.monotonic()
    run.trainer.fit(run.module, datamodule=run.data, ckpt_path=run.config.ckpt_path, weights_only=True)
    summary.seconds = time.monotonic() - start
    metrics = _floats(run.trainer.callback_metrics)
    tally = take_tally(metrics)
    if tally is None:
        log.warning(
            "ckpt_path: %s is at the end of its run (trainer.max_epochs=%s, trainer.max_steps=%s), and nothing was "
            "left to train; raise them to go on, or leave ckpt_path out to begin anew",
            run.config.ckpt_path,
            run.trainer.max_epochs,
            run.trainer.max_steps,
        )
        tally = run.trainer.global_step, at_max_epochs(run.trainer), run.module.regime_counts.shares()
    summary.steps, reason, summary.regimes = tally
    if summary.steps < run.trainer.max_steps:
        given = run.trainer.max_steps
        log.warning("trainer.max_steps: the run ended after %d of %d steps, %s", summary.steps, given, reason)
    if has_test and evaluate.student_after:
        summary.accuracy["student_after"] = metrics["test/accuracy"] = _accuracy(run, "student")
    if run.trainer.is_global_zero:
        try:
            summary.write(run.folder)
        finally:  # what it says is worth as much without the file
            summary.print(run.folder)
    return metrics


def validate(run: Run) -> Metrics:
    """Accuracy on ``data.val``."""
    return dict(run.trainer.validate(run.module, run.data, ckpt_path=run.config.ckpt_path, weights_only=True)[0])


def test(run: Run) -> Metrics:
    """Accuracy on ``data.test``."""
    return dict(run.trainer.test(run.module, run.data, ckpt_path=run.config.ckpt_path, weights_only=True)[0])


def predict(run: Run) -> Metrics:
    """Answers to the prompts of ``data.predict``, one JSON object a line in ``predictions.jsonl``."""
    batches = run.trainer.predict(run.module, run.data, ckpt_path=run.config.ckpt_path, weights_only=True) or []
    path = run.folder / "predictions.jsonl"
    write_whole(path, b"".join(json_line(row) for batch in batches for row in batch), "the predictions")
    log.info("predictions: %s", path)
    return {}


def export(run: Run) -> Metrics:
    """The student of a checkpoint in Hugging Face format, in ``student/``."""
    exports = [callback for callback in run.trainer.callbacks if isinstance(callback, ExportStudent)]  # type: ignore[attr-defined]
    adapters = {"adapters": exports[0].adapters} if exports else {}
    save_student(run.module, run.folder / "student", **adapters)
    log.info("student: %s", run.folder / "student")
    return {}


def _tell_loggers(run: Run) -> None:
    """Give the configuration to loggers, apart from the CSV logger's: ``config.yaml`` is beside its file."""
    config = OmegaConf.to_container(run.config, resolve=True)
    for logger in run.trainer.loggers:
        if not isinstance(logger, CSVLogger):
            logger.log_hyperparams(config)  # type: ignore[arg-type]


def _end_wandb(run: Run) -> None:
    """End W&B's run, or the next job of a sweep, in this same process, would log to it."""
    if any(isinstance(logger, WandbLogger) for logger in run.trainer.loggers):
        import wandb  # takes a second, which runs without it need not wait for

        wandb.finish()


def _accuracy(run: Run, role: str) -> float:
    """Accuracy on ``data.test`` of the student or teacher; with a Trainer of its own, so that it is not in the logs."""
    trainer = make_trainer(run.config, logger=False, callbacks=[], enable_checkpointing=False)
    with run.module.answering_as(role):
        (metrics,) = trainer.test(run.module, run.data, verbose=False)
    accuracy = float(metrics["test/accuracy"])
    log.info("the %s answers %.1f %% of the problems in data.test", role, 100 * accuracy)
    return accuracy


def _floats(metrics: Any) -> Metrics:
    return {name: float(value) for name, value in metrics.items()}


_STAGES: dict[str, Callable[[Run], Metrics]] = {
    "fit": fit,
    "validate": validate,
    "test": test,
    "predict": predict,
    "export": export,
}

_WITHOUT_POLICIES: dict[str, Callable[[DictConfig], None]] = {"privilege": privilege, "compare": compare}
