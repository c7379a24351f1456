"""From configuration to objects, the cheap ones first: what cannot work is said before a model loads."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint, LearningRateMonitor, ProgressBar
from omegaconf import DictConfig, OmegaConf
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from dopd_lightning.callbacks import ContinuedLogs
from dopd_lightning.cli.loggers import dispensable
from dopd_lightning.cli.make import complaints_name, make
from dopd_lightning.cli.resume import KeepConfig
from dopd_lightning.cli.summary import Tally
from dopd_lightning.consistency import check_settings, check_teacher_given, check_top_k, room_for_prompt
from dopd_lightning.data import DOPDDataModule, PromptFormat
from dopd_lightning.errors import ConfigError, check_range
from dopd_lightning.module import DOPDModule
from dopd_lightning.policies import check_same_tokenizer, load_config, load_tokenizer, new_policy, new_tokenizer
from dopd_lightning.rollout import Engine, Rollout, TransformersEngine

_SETS = ("train", "val", "test", "predict")
_SOURCES = {"teacher": "teacher", "reference": "reference.model"}
"""Where a source's model stands in the configuration."""
_EXAMPLES_FOR_TOKENIZER = 2000


@dataclass(frozen=True)
class Run:
    """The objects of one run."""

    config: DictConfig
    module: DOPDModule
    data: DOPDDataModule
    trainer: L.Trainer

    @property
    def folder(self) -> Path:
        """Where it leaves things."""
        return Path(self.config.paths.output_dir)


def build(config: DictConfig) -> Run:
    """Make everything that a stage needs.

    Raises:
        ConfigError: naming the config key, the value and what would be right.
        DataError: naming the file and line.
    """
    reference_is_model = OmegaConf.select(config, "reference.kind") == "model"
    parts = {
        key: make(config, key)
        for key in ("fusion", "rollout", "prompt_format", "privileged", "optimizer", "scheduler", "reference")
        if not (key == "reference" and reference_is_model)
    }
    # A partial: Hydra would turn dataclasses among the arguments into configuration.
    module = make(config, "module", _partial_=True)
    # An export writes no responses, and needs no server to be there.
    parts["engine"] = TransformersEngine() if config.stage == "export" else make(config, "engine")
    with complaints_name(config, "module"):
        settings = {
            name: module.keywords[name] for name in ("reduction", "loss_temperature", "loss_memory", "verifier")
        }
        check_settings(**settings, fusion=parts["fusion"], rollout=parts["rollout"])
    check_teacher_given(config.teacher or None, parts["fusion"], parts["rollout"])
    _try_optimizer(parts["optimizer"], parts["scheduler"])
    data = _data(config)
    trainer = _trainer(config, data)
    tokenizer = _tokenizer(config, data, parts["prompt_format"])
    check_top_k(parts["fusion"], tokenizer)
    parts |= _other_tokenizers(config, tokenizer)
    room = _room_for_prompt(config, parts["rollout"], parts["engine"])
    if config.stage != "export":
        with complaints_name(config, "prompt_format"):
            data.check_prompts(parts["prompt_format"], tokenizer, room)
    if reference_is_model:
        parts["reference"] = make(config, "reference")
    student = _student(config, tokenizer)
    teacher = _teacher(config, student)
    with complaints_name(config, "module"):
        return Run(config, module(student=student, teacher=teacher, tokenizer=tokenizer, **parts), data, trainer)


def make_trainer(config: DictConfig, **arguments: Any) -> L.Trainer:
    """The Trainer; Lightning's own complaints about its flags come with the key ``trainer``."""
    _check_strategy(config)
    with warnings.catch_warnings():
        # Lightning would warn and go on in bfloat16, and the saved configuration would not be of this run.
        warnings.filterwarnings("ignore", message=".*AMP with fp16 is not supported on CPU")
        trainer: L.Trainer = make(config, "trainer", **arguments)
    precision = config.trainer.get("precision")
    if str(precision) in ("16", "16-mixed") and trainer.precision != "16-mixed":
        raise ConfigError(
            f"trainer.precision: {precision!r} needs a GPU; choose precision=bf16-mixed or precision=32-true"
        )
    return trainer


def _check_strategy(config: DictConfig) -> None:
    """What Lightning refuses in other words, or not at all."""
    strategy, precision = config.trainer.strategy, str(config.trainer.get("precision"))
    sharded = not isinstance(strategy, str)
    if not sharded and strategy.startswith(("fsdp", "deepspeed")):
        raise ConfigError(
            f"trainer.strategy: {strategy!r} is not supported: heads are read, and generation runs, as FSDP2 shards; "
            "use the config group, strategy=fsdp"
        )
    if sharded and precision.startswith("16"):
        raise ConfigError(
            f"trainer.precision: {precision!r} scales losses, which FSDP2's sharded gradients do not go with; use "
            "precision=bf16-mixed, or strategy=ddp"
        )


def _named(config: DictConfig, group: str) -> list[Any]:
    """The objects of a group of named nodes, those set to null left out."""
    return [make(config, f"{group}.{name}") for name, node in (config.get(group) or {}).items() if node is not None]


def _try_optimizer(optimizer: Any, scheduler: Any) -> None:
    """Make both for a single parameter: what they refuse shows before a model loads."""
    try:
        key = "optimizer"
        tried = optimizer([nn.Parameter(torch.zeros(1, 1))])
        key = "scheduler"
        scheduler(optimizer=tried, num_training_steps=1)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{key}: {error}") from error


def _data(config: DictConfig) -> DOPDDataModule:
    """The data module, with the sets that the stage reads; one whose path or split is null is not there."""
    needed = {
        "fit": ("train", "val", "test"),
        "validate": ("val",),
        "test": ("test",),
        "predict": ("predict",),
        "export": (),
    }[config.stage]
    learns_tokenizer = "architecture" in config.student and config.student.tokenizer is None
    sets: dict[str, Any] = dict.fromkeys(_SETS)
    for name in _SETS:
        node = config.data[name]
        absent = node is None or node.get("path", "") is None or node.get("split", "") is None
        if not absent and (name in needed or (name == "train" and learns_tokenizer)):
            sets[name] = make(config, f"data.{name}")
    data = make(config, "data", _partial_=True, **dict.fromkeys(_SETS))
    with complaints_name(config, "data"):
        module: DOPDDataModule = data(**sets)
        try:
            if needed:
                module.setup(config.stage)
        except ConfigError as error:
            node = config.data[needed[0]] or {}
            keys = [key for key in ("path", "split") if node.get(key, "") is None]
            raise ConfigError(
                "; give ".join([str(error), *(f"data.{needed[0]}.{key}=…" for key in keys[:1])])
            ) from None
    return module


def _trainer(config: DictConfig, data: DOPDDataModule) -> L.Trainer:
    """The run's Trainer, with what is configured and nothing that Lightning would add."""
    logger, callbacks = list(map(dispensable, _named(config, "logger"))), _named(config, "callbacks")
    if not config.trainer.get("enable_progress_bar", True):  # one flag is to be enough
        callbacks = [callback for callback in callbacks if not isinstance(callback, ProgressBar)]
    checkpoints = any(isinstance(callback, Checkpoint) for callback in callbacks)
    no_validation: dict[str, Any] = {}
    if data.sets["val"] is None:
        no_validation = {"limit_val_batches": 0}
        if type(config.trainer.val_check_interval) is int and config.trainer.val_check_interval > 0:
            no_validation["val_check_interval"] = None  # Lightning would refuse one above the batches of an epoch
    trainer = make_trainer(
        config,
        logger=logger,
        callbacks=[*callbacks, KeepConfig(config), ContinuedLogs(), Tally()],
        enable_checkpointing=checkpoints,
        **no_validation,
    )
    if config.stage == "fit":
        _check_fit(config, trainer, data)
    return trainer


def _check_fit(config: DictConfig, trainer: L.Trainer, data: DOPDDataModule) -> None:
    """What Lightning would say only after the models have loaded and been evaluated."""
    if not trainer.loggers and any(isinstance(callback, LearningRateMonitor) for callback in trainer.callbacks):  # type: ignore[attr-defined]
        raise ConfigError("callbacks.lr_monitor: there is no logger to log to; choose one, such as logger=csv")
    if trainer.max_epochs == -1 and trainer.max_steps == -1:
        raise ConfigError("trainer.max_steps: -1, with max_epochs=-1, never ends; give one of them")
    check_range("trainer.accumulate_grad_batches", trainer.accumulate_grad_batches, at_least=1)
    interval = None if data.sets["val"] is None else config.trainer.val_check_interval
    batches = len(data.sets["train"]) // (data.batch_size * trainer.world_size)
    if isinstance(interval, int) and interval > batches and trainer.check_val_every_n_epoch is not None:
        raise ConfigError(
            f"trainer.val_check_interval: {interval} is above the {batches} batches of an epoch; lower it, or count "
            "across epochs with trainer.check_val_every_n_epoch=null"
        )


def _tokenizer(config: DictConfig, data: DOPDDataModule, prompt_format: PromptFormat) -> PreTrainedTokenizerBase:
    """The student's tokenizer, before its weights."""
    if "architecture" not in config.student:
        return _load_tokenizer(config, "student")
    if config.student.tokenizer is not None:
        with complaints_name(config, "student"):
            return load_tokenizer(config.student.tokenizer)
    return new_tokenizer(_training_texts(data, prompt_format), config.student.vocabulary_size)


def _load_tokenizer(config: DictConfig, key: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a pretrained policy."""
    with complaints_name(config, key):
        return load_tokenizer(**_where(config, key))


def _where(config: DictConfig, key: str) -> dict[str, Any]:
    """What says where a pretrained policy is found."""
    node = OmegaConf.select(config, key)
    return {name: node[name] for name in ("name", "trust_remote_code", "revision")}


def _training_texts(data: DOPDDataModule, prompt_format: PromptFormat) -> Iterator[str]:
    """What a new tokenizer is learned from: the first training examples as the student will read them."""
    if data.sets["train"] is None:
        raise ConfigError("student.tokenizer: null learns one from data.train, which is not there; name a tokenizer")
    bytes_only = new_tokenizer([])
    for index in range(min(_EXAMPLES_FOR_TOKENIZER, len(data.sets["train"]))):
        example = data.sets["train"][index]
        yield prompt_format.text(example, bytes_only, privileged=True) + (example.get("completion") or "")


def _student(config: DictConfig, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    student = config.student
    if "architecture" in student:
        architecture: Any = OmegaConf.to_container(student.architecture, resolve=True)
        with complaints_name(config, "student"):
            return new_policy(architecture, tokenizer, seed=student.seed)
    model: PreTrainedModel = make(config, "student")
    return model


def _teacher(config: DictConfig, student: PreTrainedModel) -> PreTrainedModel | None:
    if not config.teacher:
        return None
    made = make(config, "teacher")
    teacher: PreTrainedModel = made(student) if _is_base(config) else made
    return teacher


def _is_base(config: DictConfig) -> bool:
    """Whether the teacher is made of the student, and so is no model to look for."""
    return bool(config.teacher) and "name" not in config.teacher


def _other_tokenizers(config: DictConfig, tokenizer: PreTrainedTokenizerBase) -> dict[str, PreTrainedTokenizerBase]:
    """Those of teacher and reference, as arguments of the module; compared before any weights are read."""
    found = {"teacher_tokenizer": tokenizer} if _is_base(config) else {}
    for role, key in _SOURCES.items():
        if OmegaConf.select(config, f"{key}.name"):
            found[f"{role}_tokenizer"] = _load_tokenizer(config, key)
            with complaints_name(config, key):
                check_same_tokenizer(tokenizer, found[f"{role}_tokenizer"], role)
    return found


def _room_for_prompt(config: DictConfig, rollout: Rollout, engine: Engine) -> int:
    """What the positions of the pretrained policies and the engine leave for a prompt, by their configs alone."""
    configs = {}
    student = {} if "architecture" in config.student else {"student": "student"}
    for role, key in {**student, **_SOURCES}.items():
        if OmegaConf.select(config, f"{key}.name"):
            with complaints_name(config, key):
                configs[role] = load_config(**_where(config, key))
    with complaints_name(config, "engine"):
        return room_for_prompt(configs, rollout, engine)
