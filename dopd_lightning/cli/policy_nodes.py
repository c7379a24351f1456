"""Checks of the policies by their config nodes and config files, before any weights are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from dopd_lightning.cli.make import check_signatures, complaints_name
from dopd_lightning.cli.values import check_value
from dopd_lightning.errors import ConfigError
from dopd_lightning.policies import check_loading
from dopd_lightning.training.consistency import QUANTIZED_STUDENT, check_average

SOURCES = {"teacher": "teacher", "reference": "reference.model"}
"""The config key of each source's model."""
_OF_SCRATCH: Mapping[str, Any] = {
    "architecture": Mapping[str, Any],
    "tokenizer": str | None,
    "vocabulary_size": int,
    "seed": int,
}
_WITHOUT_ADAPTERS = ("dopd_lightning.policies.load_policy", "dopd_lightning.policies.new_policy")


def is_base(config: DictConfig) -> bool:
    """Return whether the teacher is made from the student, and is no model to load."""
    return bool(config.teacher) and "name" not in config.teacher


def check_policy_nodes(config: DictConfig) -> None:
    """Refuse settings with which a policy cannot be loaded, or could not play its part.

    Raises:
        ConfigError: naming the key.
    """
    for key in ("student", *SOURCES.values()):
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
    if is_base(config) and student.get("_target_") in _WITHOUT_ADAPTERS:
        raise ConfigError(
            "teacher: the student has no adapters, so that its base is itself; choose student=lora, or another teacher"
        )
    if OmegaConf.select(config, "reference.kind") == "ema":
        trained_in = str(config.trainer.get("precision")).removesuffix("-true")
        names = {"bf16": "bfloat16", "16": "float16", "bfloat16": "bfloat16", "float16": "float16"}
        for name in (trained_in, str(student.get("dtype"))):
            if name in names:
                check_average(getattr(torch, names[name]))
    _check_two_sources(config)


def _check_two_sources(config: DictConfig) -> None:
    """The reference's model is not the teacher's: as `check_policies` finds once both are loaded."""
    teacher, reference = (OmegaConf.select(config, key) or {} for key in SOURCES.values())
    if teacher.get("name") and all(teacher.get(name) == reference.get(name) for name in ("name", "revision")):
        raise ConfigError(
            f"reference: it is the same model as the teacher ({teacher['name']}), so that their gap is 0 at every "
            "token; choose another model, or a reference of another kind"
        )
