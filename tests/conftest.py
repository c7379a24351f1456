"""Tiny policies that speak the tokens of a tiny tokenizer, what they say one sequence at a time, and runs of them."""

from __future__ import annotations

import copy
import functools
import json
import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest
import torch
from hydra import compose, initialize_config_module
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.importlib_resources_config_source import ImportlibResourcesConfigSource
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.plugins.config_source import ConfigResult
from omegaconf import DictConfig, grammar_parser
from omegaconf import base as omegaconf_base
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from dopd_lightning.cli.resolvers import register_resolvers
from dopd_lightning.policies import new_policy, new_tokenizer
from tests.chat_server import ChatServer

if TYPE_CHECKING:
    from playwright.sync_api import Browser

TEXTS = ["Add the numbers 1 2 3 step by step.", "Hint: first add 1 and 2, then 3.", "<answer>6</answer>"]
ARCHITECTURE = {
    "model_type": "qwen3",
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "max_position_embeddings": 512,
    "initializer_range": 0.2,
    "tie_word_embeddings": True,
}


class MakePolicy(Protocol):
    def __call__(self, seed: int = 0, **fields: Any) -> PreTrainedModel: ...


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerBase:
    return new_tokenizer(TEXTS, vocabulary_size=280)


@pytest.fixture(scope="session")
def make_policy(tokenizer: PreTrainedTokenizerBase) -> MakePolicy:
    """Two Qwen3 layers with weights large enough that each prompt and each seed has a distribution of its own."""

    def make(seed: int = 0, **fields: Any) -> PreTrainedModel:
        return new_policy(ARCHITECTURE | fields, tokenizer, seed=seed).eval()

    return make


class LogitsOf(Protocol):
    def __call__(self, policy: PreTrainedModel, prompt: Sequence[int], response: Sequence[int]) -> Tensor: ...


@pytest.fixture(scope="session")
def logits_of(tokenizer: PreTrainedTokenizerBase) -> LogitsOf:
    """The plain way: one unpadded sequence, the whole of it, and the rows before each response token."""

    def logits(policy: PreTrainedModel, prompt: Sequence[int], response: Sequence[int]) -> Tensor:
        every = policy(input_ids=torch.tensor([[*prompt, *response]])).logits[0]
        return torch.stack([every[len(prompt) + n - 1] for n in range(len(response))])[:, : len(tokenizer)]

    return logits


@pytest.fixture(scope="session")
def models(
    tmp_path_factory: pytest.TempPathFactory, make_policy: MakePolicy, tokenizer: PreTrainedTokenizerBase
) -> Path:
    """A folder with the folders of a ``student``, a ``teacher`` and an ``other`` policy of their family."""
    folder = tmp_path_factory.mktemp("models")
    for seed, role in enumerate(("student", "teacher", "other")):
        make_policy(seed).save_pretrained(folder / role)
        tokenizer.save_pretrained(folder / role)
    return folder


@pytest.fixture(scope="session")
def lines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A JSON Lines file of four sums, with all that an example can have."""
    path = tmp_path_factory.mktemp("data") / "sums.jsonl"
    rows = [
        {"prompt": f"Add {n} 2.", "privileged": f"first {n}", "answer": n + 2, "completion": f"{n + 2}"}
        for n in range(4)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


# Most of a test's time went into parsing the same interpolations and the same files again.
omegaconf_base.parse = functools.lru_cache(maxsize=None)(grammar_parser.parse)  # type: ignore[attr-defined]
_read = ImportlibResourcesConfigSource._read_config
_files: dict[Any, ConfigResult] = {}


def _read_once(source: ImportlibResourcesConfigSource, file: Any) -> ConfigResult:
    if file not in _files:
        _files[file] = _read(source, file)
    return copy.deepcopy(_files[file])


ImportlibResourcesConfigSource._read_config = _read_once  # type: ignore[method-assign]


@functools.cache
def _parsed(override: str) -> Override:
    return OverridesParser.create().parse_override(override)


_composed: dict[tuple[str, ...], DictConfig] = {}


def compose_quickly(overrides: Sequence[str]) -> DictConfig:
    """Compose as Hydra does, but read what the choices of groups lead to only once in a session.

    Values are put in afterwards, by the function with which Hydra does it.
    """
    with initialize_config_module("dopd_lightning.conf", version_base="1.3"):
        groups = GlobalHydra.instance().config_loader().repository  # type: ignore[attr-defined]
        parsed = [_parsed(override) for override in overrides]
        values = [
            each for each in parsed if isinstance(each.value(), dict) or not groups.group_exists(each.key_or_group)
        ]
        choices = tuple(str(each.input_line) for each in parsed if each not in values)
        if choices not in _composed:
            _composed[choices] = compose("config", [*choices])
        config = copy.deepcopy(_composed[choices])
        ConfigLoaderImpl._apply_overrides_to_config(values, config)
    return config


class Configured(Protocol):
    def __call__(self, *overrides: str, sets: Sequence[str] = ("train",), bare: bool = False) -> DictConfig: ...


@pytest.fixture
def configured(models: Path, lines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Configured:
    """Compose a run into ``tmp_path/run``: two steps of the tiny models on ``sets``, or none of this if ``bare``."""
    monkeypatch.chdir(tmp_path)
    for name in ("WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    register_resolvers()

    def composed(*overrides: str, sets: Sequence[str] = ("train",), bare: bool = False) -> DictConfig:
        base = [f"paths.output_dir={tmp_path}/run", "trainer.accelerator=cpu", "trainer.enable_progress_bar=false"]
        if not bare:
            base += [
                "trainer.max_steps=2",
                "trainer.log_every_n_steps=1",
                "data.batch_size=2",
                "rollout.max_new_tokens=4",
            ]
            base += [f"++student.name={models}/student"]
            unnamed = {
                f"teacher={kind}" for kind in ("none", "student", "snapshot", "ema", "base", "ensemble", "by_domain")
            }
            base += [] if unnamed & {*overrides} else [f"teacher.name={models}/teacher"]
            base += [] if {"fusion=data", "fusion=opsa"} & {*overrides} else ["fusion.top_k=8"]
            base += [f"data.{name}.path={lines}" for name in sets]
        return compose_quickly([*base, *overrides])

    return composed


@pytest.fixture
def chat_server() -> Iterator[ChatServer]:
    """A server that writes hints; what it says can be replaced."""
    server = ChatServer()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
OPTIONS = ["no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking"]
OPTIONS += ["disable-component-update", "disable-sync"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The system's Chromium, which CI has to have."""
    from playwright.sync_api import sync_playwright  # most tests do without

    if CHROMIUM is None:
        missing = "no Chromium: apt-get install chromium"
        pytest.fail(missing) if os.environ.get("CI") == "true" else pytest.skip(missing)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[f"--{option}" for option in OPTIONS])
        yield browser
        browser.close()
