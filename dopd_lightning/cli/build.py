"""From configuration to objects, the cheap ones first: what cannot work is said before a model loads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from dopd_lightning.data import DOPDDataModule, PromptFormat
from dopd_lightning.errors import ConfigError, DataError
from dopd_lightning.module import DOPDModule
from dopd_lightning.policies import check_same_tokenizer, load_tokenizer, new_policy, new_tokenizer

_SETS = ("train", "val", "test", "predict")
_EXAMPLES_FOR_TOKENIZER = 2000


@dataclass(frozen=True)
class Run:
    """The objects of one run."""

    config: DictConfig
    folder: Path
    module: DOPDModule
    data: DOPDDataModule
    trainer: L.Trainer


def build(config: DictConfig) -> Run:
    """Make everything that a stage needs.

    Raises:
        ConfigError: naming the config key, the value and what would be right.
        DataError: naming the file and line.
    """
    folder = Path(config.paths.output_dir)
    parts = {
        key: make(config, key)
        for key in ("fusion", "rollout", "prompt_format", "privileged", "optimizer", "scheduler", "reference")
        if not (key == "reference" and config.reference.kind == "model")
    }
    data = _data(config)
    trainer = make_trainer(config, logger=_named(config, "logger"), callbacks=_named(config, "callbacks"))
    tokenizer = _tokenizer(config, data, parts["prompt_format"])
    if config.stage != "export":
        data.check_prompts(parts["prompt_format"], tokenizer)
    _check_other_tokenizers(config, tokenizer)
    if config.reference.kind == "model":
        parts["reference"] = make(config, "reference")
    # A partial first: Hydra would turn dataclasses among the arguments into configuration.
    module = make(config, "module", _partial_=True)(
        student=_student(config, tokenizer),
        teacher=make(config, "teacher") if config.teacher else None,
        tokenizer=tokenizer,
        **parts,
    )
    return Run(config, folder, module, data, trainer)


def make_trainer(config: DictConfig, **arguments: Any) -> L.Trainer:
    """The Trainer; Lightning's own complaints about its flags come with the key ``trainer``."""
    with warnings.catch_warnings():
        # Lightning would warn and go on in bfloat16, and the saved configuration would not be of this run.
        warnings.filterwarnings("ignore", message=".*AMP with fp16 is not supported on CPU")
        trainer: L.Trainer = make(config, "trainer", **arguments)
    precision = config.trainer.get("precision")
    if str(precision) in ("16", "16-mixed") and trainer.precision != "16-mixed":
        raise ConfigError(f"trainer.precision: {precision!r} needs a GPU; choose precision=bf16-mixed or precision=32")
    return trainer


def _named(config: DictConfig, group: str) -> list[Any]:
    """The objects of a group of named nodes, those set to null left out."""
    return [make(config[group], name) for name, node in config[group].items() if node is not None]


def _data(config: DictConfig) -> DOPDDataModule:
    """The data module, with the sets that the stage reads; a set without a path or task is not there."""
    # Resolved first: sets refer to one another, and not all of them are made.
    node = OmegaConf.create(OmegaConf.to_container(config.data, resolve=True))
    assert isinstance(node, DictConfig)
    needed = {
        "fit": ("train", "val", "test"),
        "validate": ("val",),
        "test": ("test",),
        "predict": ("predict",),
        "export": (),
    }[config.stage]
    learns_tokenizer = "architecture" in config.student and config.student.tokenizer is None
    for name in _SETS:
        absent = node[name] is None or node[name].get("path", "") is None or node[name].get("split", "") is None
        if absent or not (name in needed or (name == "train" and learns_tokenizer)):
            node[name] = None
    data: DOPDDataModule = make(DictConfig({"data": node}), "data")
    return data


def _tokenizer(config: DictConfig, data: DOPDDataModule, prompt_format: PromptFormat) -> PreTrainedTokenizerBase:
    """The student's tokenizer, before its weights."""
    student = config.student
    if "architecture" not in student:
        return load_tokenizer(student.name, trust_remote_code=student.trust_remote_code, revision=student.revision)
    if student.tokenizer is not None:
        return load_tokenizer(student.tokenizer)
    return new_tokenizer(_training_texts(data, prompt_format), student.vocabulary_size)


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
        return new_policy(architecture, tokenizer, seed=student.seed)
    model: PreTrainedModel = make(config, "student")
    return model


def _check_other_tokenizers(config: DictConfig, tokenizer: PreTrainedTokenizerBase) -> None:
    """Compare tokenizers before any weights are read."""
    others = {"teacher": config.teacher, "reference": config.reference.get("model")}
    for role, node in others.items():
        if node:
            other = load_tokenizer(node.name, trust_remote_code=node.trust_remote_code, revision=node.revision)
            check_same_tokenizer(tokenizer, other, role)
