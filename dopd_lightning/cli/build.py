"""Build objects from the configuration, cheap ones first, so that an error comes before a model loads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, Checkpoint, ProgressBar
from lightning.pytorch.loggers import Logger, WandbLogger
from omegaconf import DictConfig, OmegaConf
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from dopd_lightning.callbacks import ContinuedLogs
from dopd_lightning.cli.first_examples import check_completions, check_domains, check_scores
from dopd_lightning.cli.instantiate import check_signatures, complaints_name, make
from dopd_lightning.cli.loggers import dispensable
from dopd_lightning.cli.policy_nodes import check_policy_nodes, loaded_sources, source_nodes
from dopd_lightning.cli.same_run import KeepConfig
from dopd_lightning.cli.summary import Tally
from dopd_lightning.cli.trainer import answered_sets, check_amounts, check_fit, make_trainer
from dopd_lightning.cli.wandb_account import check_wandb
from dopd_lightning.data import DOPDDataModule, PromptFormat, completion_text, get_verifier
from dopd_lightning.errors import ConfigError, check_choice, check_range
from dopd_lightning.policies import (
    check_same_tokenizer,
    load_config,
    load_tokenizer,
    new_policy,
    new_tokenizer,
    shared_vocabulary_size,
)
from dopd_lightning.rollout import TransformersEngine
from dopd_lightning.sources import Policy, Source, named_sources
from dopd_lightning.training.consistency import check_domains_of, check_kinds, check_reduction, check_writers
from dopd_lightning.training.module import DOPDModule
from dopd_lightning.training.plan import Plan

_SETS = ("train", "val", "test", "predict")
_TELLS = {
    "fusion": "needs",
    "rollout": "sampling",
    "engine": "generate",
    "prompt_format": "select",
    "privileged": "evaluation",
}
"""An attribute that each object of a config group has, whoever wrote its class."""
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
        """Folder of the run's outputs."""
        return Path(self.config.paths.output_dir)


def build(config: DictConfig) -> Run:
    """Make everything that a stage needs.

    Raises:
        ConfigError: naming the config key, the value and what would be right.
        DataError: naming the file and line.
    """
    parts = {
        key: _part(config, key)
        for key in ("fusion", "rollout", "prompt_format", "privileged", "optimizer", "scheduler")
    }
    tried = _try_sources(config)
    # A partial: Hydra would turn dataclasses among the arguments into configuration.
    module = make(config, "module", _partial_=True)
    # An export writes no responses, and needs no server to be there.
    parts["engine"] = TransformersEngine() if config.stage == "export" else _part(config, "engine")
    with complaints_name(config, "module"):
        settings = {
            name: module.keywords[name] for name in ("reduction", "loss_temperature", "loss_memory", "verifier")
        }
        names = [key.rpartition(".")[2] for key in source_nodes(config)]
        own = {key: parts[key] for key in ("fusion", "rollout", "engine")}
        plan = Plan(**settings, **own, sources=names)
        if config.stage == "fit":
            check_reduction(settings["reduction"], config.trainer.get("accumulate_grad_batches", 1))
    by_name = {key.rpartition(".")[2]: source for key, source in tried.items()}
    shown = parts["privileged"].shown({name: source.shown for name, source in by_name.items()})
    check_policy_nodes(config, shown)
    check_writers(by_name, parts["rollout"])
    check_kinds(by_name, parts["fusion"])
    check_domains_of(by_name, parts["fusion"])
    _try_optimizer(config, parts["optimizer"], parts["scheduler"])
    data = _data(config)
    trainer = _trainer(config, data)
    if config.stage == "fit":
        check_completions(parts["rollout"], data)
        check_domains({name: by_name[name] for name in sorted(parts["fusion"].needs)}, data)
    if config.stage != "predict":
        with complaints_name(config, "module"):
            check_scores(answered_sets(config), get_verifier(settings["verifier"]), data)
    tokenizer = _tokenizer(config, data, parts["prompt_format"])
    plan.check_top_k(tokenizer)
    parts |= _other_tokenizers(config, tokenizer)
    room = _room_for_prompt(config, plan, tokenizer)
    if config.stage != "export":
        with complaints_name(config, "prompt_format"):
            data.check_prompts(parts["prompt_format"], tokenizer, room)
    student = _student(config, tokenizer)
    loaded = loaded_sources(config)
    made = {
        key: make(config, key) if any(f"{place}.".startswith(f"{key}.") for place in loaded) else source
        for key, source in tried.items()
    }
    parts |= {"teacher": made.pop("teacher", None), "reference": made.pop("reference")}
    parts["sources"] = {key.rpartition(".")[2]: source for key, source in made.items()}
    with complaints_name(config, "module"):
        return Run(config, module(student=student, tokenizer=tokenizer, **parts), data, trainer)


def _try_sources(config: DictConfig) -> dict[str, Source]:
    """Make the sources without the models that they load: mistakes show at once."""
    tried = {key: _tried(config, key, node) for key, node in source_nodes(config).items()}
    others = {key.partition(".")[2]: source for key, source in tried.items() if key.startswith("sources.")}
    named_sources(tried.get("teacher"), tried.get("reference", "student"), others)
    return tried


def _tried(config: DictConfig, key: str, node: Any) -> Source:
    """The source at ``key``, with an empty model in place of one that would be loaded."""
    if node is None:
        raise ConfigError(f"{key}: it is null, and must be a source; leave it out, or choose a kind")
    if "members" in node:
        members = {str(name): _tried(config, f"{key}.members.{name}", each) for name, each in node.members.items()}
        made: Any = make(config, key, members=members)
    elif any(place == key or place.startswith(f"{key}.") for place in loaded_sources(config)):
        check_signatures(config, key)
        with complaints_name(config, key):
            made = Policy(nn.Module(), node.get("shown"))  # type: ignore[arg-type]  # never read
    else:
        made = make(config, key)
    if not isinstance(made, Source):
        raise ConfigError(f"{key}: {node.get('_target_')} makes a {type(made).__name__}, not a source")
    return made


def _part(config: DictConfig, key: str) -> Any:
    """The object of a group that the module is given, which has to be of that kind."""
    made = make(config, key)
    if not hasattr(made, _TELLS.get(key, "__class__")):
        target = OmegaConf.select(config, f"{key}._target_")
        raise ConfigError(f"{key}: {target} makes a {type(made).__name__}, which is no {key}: it has no {_TELLS[key]}")
    return made


def _named(config: DictConfig, group: str, kind: type) -> dict[str, Any]:
    """The objects of a group of named nodes, by name, those set to null left out."""
    made = {
        name: make(config, f"{group}.{name}") for name, node in (config.get(group) or {}).items() if node is not None
    }
    for name, part in made.items():
        if not isinstance(part, kind):
            target = config[group][name]["_target_"]
            raise ConfigError(f"{group}.{name}: {target} makes a {type(part).__name__}, which is no {kind.__name__}")
        folder = config[group][name].get("folder")
        if folder is not None:
            _check_folder(f"{group}.{name}.folder", Path(folder))
    return made


def _check_folder(key: str, folder: Path) -> None:
    """Check that a folder, which is written to at the end, exists or can be made."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise ConfigError(f"{key}: {str(folder)!r} cannot be a folder: {str(there)!r} is a file; choose another place")


def _try_optimizer(config: DictConfig, optimizer: Any, scheduler: Any) -> None:
    """Make both for a single parameter: what they refuse shows before a model loads."""
    for key, made in (("optimizer", optimizer), ("scheduler", scheduler)):
        if not callable(made):
            raise ConfigError(f"{key}: {type(made).__name__} cannot be called; set {key}._partial_ to true")
    for name in ("lr", "weight_decay", "momentum"):  # of torch's optimizers, which take the wrong sign or say little
        if config.optimizer.get(name) is not None:
            check_range(f"optimizer.{name}", config.optimizer[name], at_least=0)
    if config.scheduler["_target_"] == "transformers.get_scheduler":
        from transformers import SchedulerType  # takes seconds, which --help and most mistakes need not wait for

        known = {kind.value for kind in SchedulerType} - {"reduce_lr_on_plateau"}  # which asks for a metric each step
        check_choice("scheduler.name", config.scheduler.get("name"), known)
    if config.scheduler.get("num_warmup_steps") is not None:
        check_range("scheduler.num_warmup_steps", config.scheduler.num_warmup_steps, at_least=0)
    key = "optimizer"
    try:
        with complaints_name(config, key):
            tried = optimizer([nn.Parameter(torch.zeros(1, 1))])
            if not isinstance(tried, torch.optim.Optimizer):
                raise ConfigError(f"_target_: it makes a {type(tried).__name__}, not an optimizer")
        key = "scheduler"
        made = scheduler(optimizer=tried, num_training_steps=1)
    except (TypeError, ValueError, AttributeError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{key}: {error}") from error
    if not hasattr(made, "step"):
        raise ConfigError(f"scheduler: {type(made).__name__} is not a scheduler: it has no step")


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
    loggers, callbacks = _named(config, "logger", Logger), [*_named(config, "callbacks", Callback).values()]
    for name, logger in loggers.items():
        if isinstance(logger, WandbLogger):
            with complaints_name(config, f"logger.{name}"):
                check_wandb(logger)
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
        logger=[dispensable(logger) for logger in loggers.values()],
        callbacks=[*callbacks, KeepConfig(config), ContinuedLogs(), Tally()],
        enable_checkpointing=checkpoints,
        **no_validation,
    )
    check_amounts(config, trainer, data)
    if config.stage == "fit":
        check_fit(config, trainer, data)
    if config.stage == "predict" and trainer.world_size > 1:
        raise ConfigError(f"trainer.devices: predict writes one file on one device, not on {trainer.world_size}")
    return trainer


def _tokenizer(config: DictConfig, data: DOPDDataModule, prompt_format: PromptFormat) -> PreTrainedTokenizerBase:
    """The student's tokenizer, before its weights."""
    if "architecture" not in config.student:
        return _load_tokenizer(config, "student")
    if config.student.tokenizer is not None:
        with complaints_name(config, "student"):
            return load_tokenizer(config.student.tokenizer)
    with complaints_name(config, "student"):
        return new_tokenizer(_training_texts(data, prompt_format), config.student.vocabulary_size)


def _load_tokenizer(config: DictConfig, key: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a pretrained policy."""
    with complaints_name(config, key):
        return load_tokenizer(**_where(config, key))


def _where(config: DictConfig, key: str) -> dict[str, Any]:
    """Return the arguments that say where a pretrained policy is found."""
    node = OmegaConf.select(config, key)
    return {name: node[name] for name in ("name", "trust_remote_code", "revision")}


def _training_texts(data: DOPDDataModule, prompt_format: PromptFormat) -> Iterator[str]:
    """Yield texts to train a new tokenizer on: the first training examples as the student will read them."""
    if data.sets["train"] is None:
        raise ConfigError("student.tokenizer: null learns one from data.train, which is not there; name a tokenizer")
    bytes_only = new_tokenizer([])
    for index in range(min(_EXAMPLES_FOR_TOKENIZER, len(data.sets["train"]))):
        example = data.sets["train"][index]
        yield prompt_format.text(example, bytes_only, privileged=True) + completion_text(example)


def _student(config: DictConfig, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    student = config.student
    if "architecture" in student:
        architecture: Any = OmegaConf.to_container(student.architecture, resolve=True)
        with complaints_name(config, "student"):
            return new_policy(architecture, tokenizer, seed=student.seed)
    model: PreTrainedModel = make(config, "student")
    return model


def _other_tokenizers(config: DictConfig, tokenizer: PreTrainedTokenizerBase) -> dict[str, PreTrainedTokenizerBase]:
    """Compare all sources' tokenizers with the student's; return those of teacher and reference, for the module."""
    found = {}
    for key, source in loaded_sources(config).items():
        other = _load_tokenizer(config, key)
        with complaints_name(config, key):
            check_same_tokenizer(tokenizer, other, source)
        if source in ("teacher", "reference"):
            found[f"{source}_tokenizer"] = other
    return found


def _room_for_prompt(config: DictConfig, plan: Plan, tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the longest prompt that the positions of pretrained policies and engine allow, by their configs."""
    configs = {}
    student = {} if "architecture" in config.student else {"student": "student"}
    for key, name in {**student, **loaded_sources(config)}.items():
        with complaints_name(config, key):
            configs[name] = load_config(**_where(config, key))
    shared_vocabulary_size(tokenizer, configs)
    with complaints_name(config, "engine"):
        return plan.room_for_prompt(configs)
