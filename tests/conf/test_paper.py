"""The paper's experiments say what the paper says, and run on tiny policies of the same architecture."""

from __future__ import annotations

import csv
import json
import math
from typing import Any

import pytest
from hydra import compose, initialize_config_module
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from transformers import AutoModelForCausalLM

from dopd_lightning.cli.resolvers import register_resolvers
from dopd_lightning.cli.stages import run_stage
from dopd_lightning.data import DAPOMath, RaRScience, SkyworkCode
from dopd_lightning.errors import ConfigError
from dopd_lightning.policies import load_tokenizer, new_policy, new_tokenizer
from tests.conftest import ARCHITECTURE, TEXTS
from tests.data.paper_rows import SETS, write
from tests.distributed.together import together

PAIRS = [("8b", "1.7b"), ("8b", "0.6b"), ("4b", "0.6b"), ("1.7b", "0.6b"), ("4b", "1.7b")]
"""Teacher and student: the paper's Table 3."""

PAPER = {
    # Sec. 4.1.4
    "optimizer._target_": "dopd_lightning.training.optimizer.adamw",
    "optimizer.lr": 5e-6,
    "scheduler.name": "cosine",
    "trainer.max_steps": 200,
    "trainer.accelerator": "gpu",
    "trainer.devices": 8,
    "trainer.num_nodes": 1,
    "rollout._target_": "dopd_lightning.rollout.StudentRollout",
    "rollout.samples_per_prompt": 4,
    "fusion._target_": "dopd_lightning.fusion.DOPD",
    "fusion.top_k": 128,
    "fusion.beta_weak": 0.3,
    "fusion.beta_light": 0.6,
    # Sec. 3.2
    "fusion.outlier_fraction": 0.05,
    "fusion.divergence": None,
    "fusion.support": None,
    "fusion.source": None,
    "fusion.regimes": ["LH", "LL", "HT", "HS"],
    "reference.kind": "student",
    "privileged.student": 0.0,
    "privileged.teacher": 1.0,
    "privileged.reference": 1.0,
    "module.reduction": "rollout",
    "rollout.temperature": 1.0,
    "rollout.top_p": 1.0,
    "rollout.top_k": 0,
    # Sec. 4.1.1: "non-thinking versions"
    "prompt_format.chat_template_kwargs": {"enable_thinking": False},
    # what the project's own arithmetic asks for on such GPUs
    "trainer.strategy._target_": "dopd_lightning.distributed.sharding.FullyShardedStrategy",
    "trainer.precision": "bf16-mixed",
}

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% if enable_thinking is defined and enable_thinking is false %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    "{% endif %}"
)
"""Part of Qwen3's template that renders a chat of plain messages."""


def composed(pair: tuple[str, str], *overrides: str) -> DictConfig:
    register_resolvers()
    name = "paper/qwen3_{}_to_{}".format(*pair)
    with initialize_config_module("dopd_lightning.conf", version_base="1.3"):
        return compose("config", [f"+experiment={name}", "paths.output_dir=run", *overrides])


@pytest.mark.parametrize("pair", PAIRS, ids="_to_".join)
def test_it_says_what_the_paper_says(pair):
    config = composed(pair)
    plain: Any = OmegaConf.create(OmegaConf.to_container(config, resolve=True))
    found = {key: OmegaConf.select(plain, key) for key in PAPER}
    assert {key: OmegaConf.to_object(v) if OmegaConf.is_config(v) else v for key, v in found.items()} == PAPER
    assert [config.teacher.name, config.student.name] == [f"Qwen/Qwen3-{size.upper()}" for size in pair]


@pytest.mark.parametrize("pair", PAIRS, ids="_to_".join)
def test_a_step_has_128_prompts_and_routing_sees_them_all(pair):
    trainer = composed(pair).trainer
    assert composed(pair).data.batch_size * trainer.devices * trainer.num_nodes == 128
    assert trainer.accumulate_grad_batches == 1


def test_it_asks_for_the_data(tmp_path):
    with pytest.raises(ConfigError, match=r"data\.train: this stage needs examples.*; give data\.train\.path=…"):
        run_stage(composed(PAIRS[0], f"paths.output_dir={tmp_path}", "trainer.accelerator=cpu", "trainer.devices=1"))


# ---------------------------------------------------------------------------------------------------- two steps


@pytest.fixture(scope="module")
def qwen3(tmp_path_factory):
    """Folders of tiny Qwen3: `8b`, whose head is its own as in the real one, and the others, whose head is tied."""
    folder = tmp_path_factory.mktemp("qwen3")
    tokenizer = new_tokenizer(TEXTS, vocabulary_size=280)
    tokenizer.chat_template = CHAT_TEMPLATE
    for seed, (size, width) in enumerate({"0.6b": 32, "1.7b": 48, "4b": 48, "8b": 64}.items()):
        shape = {"hidden_size": width, "tie_word_embeddings": size != "8b", "max_position_embeddings": 1024}
        new_policy(ARCHITECTURE | shape, tokenizer, seed=seed).save_pretrained(folder / size)
        tokenizer.save_pretrained(folder / size)
    return folder


@pytest.fixture(scope="module")
def mixture(tmp_path_factory):
    """The three sets with hints, one after the other in one file: what the experiments train on."""
    folder = tmp_path_factory.mktemp("mixture")
    lines = []
    for loader, (name, rows) in zip((RaRScience, DAPOMath, SkyworkCode), SETS.items(), strict=True):
        examples = loader("parquet", "train", data_files=write(rows, folder / f"{name}.parquet"))
        assert examples[0]["source"] == name
        lines += [json.dumps(example | {"privileged": "First see what is asked."}) + "\n" for example in examples]
    (folder / "mixture.jsonl").write_text("".join(lines))
    return folder / "mixture.jsonl"


def test_nobody_thinks(qwen3, mixture):
    prompt_format = instantiate(composed(PAIRS[0]).prompt_format)
    for line in mixture.read_text().splitlines():
        text = prompt_format.text(json.loads(line), load_tokenizer(qwen3 / "8b"), privileged=True)
        hint, thought = "\n\nHint: First see what is asked.<|im_end|>\n", "<think>\n\n</think>\n\n"
        assert text.endswith(f"{hint}<|im_start|>assistant\n{thought}")


def fit(pair: tuple[str, str], overrides: list[str]) -> None:
    run_stage(composed(pair, *overrides))


@pytest.mark.parametrize("pair", [PAIRS[0], PAIRS[-1]], ids="_to_".join)
def test_it_runs_on_tiny_models_of_the_same_architecture(qwen3, mixture, tmp_path, pair):
    """All is as it stands but models, devices, lengths, batch and steps. Two processes share the first pair."""
    processes = 2 if pair == PAIRS[0] else 1
    small = [f"teacher.name={qwen3 / pair[0]}", f"student.name={qwen3 / pair[1]}", f"data.train.path={mixture}"]
    small += ["trainer.accelerator=cpu", f"trainer.devices={processes}", f"data.batch_size={4 // processes}"]
    small += ["trainer.max_steps=2", "rollout.max_new_tokens=8"]
    seen = [f"paths.output_dir={tmp_path}", "trainer.log_every_n_steps=1", "trainer.enable_progress_bar=false"]
    together(processes, fit, pair, [*small, *seen])
    assert json.loads((tmp_path / "summary.json").read_text())["steps"] == 2
    with (tmp_path / "csv" / "metrics.csv").open() as file:
        losses = [float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]]
    assert len(losses) == 2
    assert all(0 < loss < math.inf for loss in losses)
    before, after = (AutoModelForCausalLM.from_pretrained(path) for path in (qwen3 / pair[1], tmp_path / "student"))
    assert after.config.tie_word_embeddings
    assert any(not weight.equal(before.state_dict()[name]) for name, weight in after.state_dict().items())
