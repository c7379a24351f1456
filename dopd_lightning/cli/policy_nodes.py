"""Checks of the policies by their config nodes and config files, before any weights are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from dopd_lightning.cli.check_types import check_value
from dopd_lightning.cli.instantiate import check_signatures, complaints_name
from dopd_lightning.errors import ConfigError
from dopd_lightning.policies import check_loading
from dopd_lightning.training.consistency import QUANTIZED_STUDENT, check_average

_OF_SCRATCH: Mapping[str, Any] = {
    "architecture": Mapping[str, Any],
    "tokenizer": str | None,
    "vocabulary_size": int,
    "seed": int,
}
_WITHOUT_ADAPTERS = ("dopd_lightning.policies.load_policy", "dopd_lightning.policies.new_policy")


def source_nodes(config: DictConfig) -> dict[str, DictConfig]:
    """The nodes that sources are made of, by config key; a source is named as the last word of its key."""
    nodes = {key: config.get(key) for key in ("teacher", "reference")}
    nodes |= {f"sources.{name}": node for name, node in (config.get("sources") or {}).items()}
    return {key: node for key, node in nodes.items() if node}


def _with_members(config: DictConfig) -> Iterator[tuple[str, DictConfig]]:
    """The nodes that sources are made of, and those of their members, by config key."""
    waiting = [*source_nodes(config).items()]
    while waiting:
        key, node = waiting.pop(0)
        yield key, node
        members = node.get("members")
        if isinstance(members, DictConfig):
            waiting += [(f"{key}.members.{name!s}", each) for name, each in members.items() if each]


def loaded_sources(config: DictConfig) -> dict[str, str]:
    """The config keys of the sources' models that are to be loaded, and the names that errors call them by."""
    found = {}
    for key, node in source_nodes(config).items():
        source = key.rpartition(".")[2]
        for place in _loaded(key, node):
            # teacher, reference.model and sources.maths are one model each; teacher.members.maths is one of several.
            found[place] = f"{source}.{place.rpartition('.')[2]}" if ".members." in place else source
    return found


def _loaded(key: str, node: Any) -> Iterator[str]:
    if not isinstance(node, DictConfig):
        return
    if {"_target_", "name", "trust_remote_code", "revision"} <= node.keys():  # as `load_policy` takes them
        yield key
        return
    for name, part in node.items():
        yield from _loaded(f"{key}.{name!s}", part)


def check_policy_nodes(config: DictConfig, shown: Mapping[str, float]) -> None:
    """Refuse settings with which a policy cannot be loaded, or could not play its part.

    Args:
        config: the whole configuration.
        shown: probability that the student and each source see privileged text, by name.

    Raises:
        ConfigError: naming the key.
    """
    for key in ("student", *loaded_sources(config)):
        node = OmegaConf.select(config, key)
        if isinstance(node, DictConfig) and "name" in node and "architecture" not in node:
            check_signatures(config, key)
            with complaints_name(config, key):
                check_loading(node.get("dtype", "float32"), node.get("quantization"), node.get("attn_implementation"))
    student = config.student
    if "architecture" in student:
        for name, hint in _OF_SCRATCH.items():
            check_value(f"student.{name}", student.get(name), hint)
    if student.get("quantization") is not None:
        raise ConfigError(QUANTIZED_STUDENT)
    for key, node in _with_members(config):
        if node.get("_target_") == _BASE and student.get("_target_") in _WITHOUT_ADAPTERS:
            raise ConfigError(
                f"{key}: the student has no adapters, so that its base is itself; choose student=lora, or another "
                "source"
            )
        if node.get("_target_") == _EMA or node.get("kind") == "ema":
            _check_average(config, key)
    _check_different_models(config, shown)


_BASE, _EMA = "dopd_lightning.sources.Base", "dopd_lightning.sources.Ema"


def _check_average(config: DictConfig, key: str) -> None:
    trained_in = str(config.trainer.get("precision")).removesuffix("-true")
    names = {"bf16": "bfloat16", "16": "float16", "bfloat16": "bfloat16", "float16": "float16"}
    for name in (trained_in, str(config.student.get("dtype"))):
        if name in names:
            check_average(getattr(torch, names[name]), key)


def _check_different_models(config: DictConfig, shown: Mapping[str, float]) -> None:
    """Refuse one model as two sources that read the same prompts, as `check_policies` does once both are loaded."""
    seen: dict[tuple[str, Any, float], str] = {}
    for key, source in loaded_sources(config).items():
        node = OmegaConf.select(config, key)
        if not node.get("name"):
            continue
        model = str(node["name"]), node.get("revision"), shown[source.partition(".")[0]]
        if model in seen:
            raise ConfigError(
                f"{source}: it is the same model as the {seen[model]} ({model[0]}), so that their gap is 0 at every "
                "token; choose another model, show privileged text to one of the two only, or choose a source of "
                "another kind"
            )
        seen[model] = source
