"""Weights that a model's files lack are never made up."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertModel, T5Config

from dopd_lightning.cli.stages import run_stage
from dopd_lightning.errors import ConfigError
from dopd_lightning.hints import LocalWriter
from dopd_lightning.policies import load_lora_policy, load_policy, loading
from dopd_lightning.sources import as_source


@pytest.fixture
def folder(models, tmp_path):
    """A copy of a model that may be spoilt."""
    return shutil.copytree(models / "student", tmp_path / "model")


def rewrite(folder, change):
    """Save the weights again, by other names or fewer."""
    path = folder / "model.safetensors"
    save_file(change(load_file(path)), path, metadata={"format": "pt"})


def configure(folder, **fields):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def without(weights, name):
    return {key: weight for key, weight in weights.items() if key != name}


MISSING = r"are not in its files, and would be random numbers: "


@pytest.mark.parametrize(
    "load",
    [
        load_policy,
        load_lora_policy,
        as_source,
        lambda folder: LocalWriter(name=str(folder), max_new_tokens=9).open().__enter__(),
    ],
)
def test_a_weight_that_is_missing_is_named(folder, load):
    rewrite(folder, lambda weights: without(weights, "model.layers.1.mlp.up_proj.weight"))
    with pytest.raises(ConfigError, match=rf"model '.*model': .*{MISSING}model\.layers\.1\.mlp\.up_proj\.weight\. Use"):
        load(folder)


def test_weights_under_other_names(folder):
    rewrite(folder, lambda weights: {key.replace("model.", "transformer."): each for key, each in weights.items()})
    with pytest.raises(ConfigError, match=rf"{MISSING}lm_head\.weight, .*the model lacks: transformer\.embed_tokens"):
        load_policy(folder)


def test_a_head_that_is_neither_there_nor_tied(folder):
    configure(folder, tie_word_embeddings=False)
    with pytest.raises(ConfigError, match=rf"{MISSING}lm_head\.weight\. Use"):
        load_policy(folder)


def test_weights_that_are_not_finite(folder):
    rewrite(folder, lambda weights: weights | {"model.norm.weight": torch.full((32,), float("nan"))})
    with pytest.raises(ConfigError, match=r"some of its weights are not finite numbers: model\.norm\.weight\."):
        load_policy(folder)


def test_weights_of_another_shape(folder):
    configure(folder, intermediate_size=100)
    with pytest.raises(
        ConfigError, match=r"6 weights have .*layers\.0\.mlp\.down_proj\.weight: \(32, 64\) in .*, \(32, 100"
    ):
        load_policy(folder)


def test_an_encoder_has_no_head(folder):
    BertModel(
        BertConfig(vocab_size=300, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    ).save_pretrained(folder)
    with pytest.raises(ConfigError, match=rf"BertLMHeadModel {MISSING}cls\.predictions\.bias"):
        load_policy(folder)


@pytest.mark.parametrize("quantization", [None, "int8", "int4"])
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
def test_whole_files_load_without_a_word(folder, quantization, caplog):
    load_policy(folder, quantization=quantization)
    assert not caplog.records


def test_weights_without_a_place_are_named(folder, caplog):
    rewrite(folder, lambda weights: weights | {f"visual.{n}.weight": torch.ones(2) for n in range(20)})
    with pytest.warns(UserWarning, match=r"lacks some weights .*: visual\.\*\.weight \(20\)\. They are not"):
        load_policy(folder)
    assert not caplog.records, "transformers' table would say it again"


def test_a_part_that_transformers_leaves_out_without_a_word_is_named(folder, monkeypatch):
    monkeypatch.setattr("transformers.Qwen3ForCausalLM._keys_to_ignore_on_load_unexpected", [r"^mtp\.", "attn.bias"])
    rewrite(
        folder,
        lambda weights: weights | {"mtp.norm.weight": torch.ones(2), "model.layers.0.self_attn.bias": torch.ones(1)},
    )
    with pytest.warns(UserWarning, match=r"lacks some weights of its files: mtp\.norm\.weight"):
        load_policy(folder)


def empty(folder):
    (folder / "model.safetensors").write_bytes(b"")


def cut_off(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def gone(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def gone_in_part(folder):
    weight_map = {"weight_map": {"model.norm.weight": "model-1.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(weight_map))
    (folder / "model.safetensors").unlink()


def no_index(folder):
    (folder / "model.safetensors.index.json").write_text("[]")
    (folder / "model.safetensors").unlink()


def encoder_decoder(folder):
    T5Config().save_pretrained(folder)


def no_language_model(folder):
    configure(folder, model_type="vit")


def odd_field(folder):
    configure(folder, num_hidden_layers="two")


SPOILT = {
    empty: r"model\.safetensors' cannot be read \(0 bytes; ",
    cut_off: r"model\.safetensors' cannot be read \(\d+ bytes; ",
    gone: r"has no safetensors weights .*; its weights are in pytorch_model\.bin",
    gone_in_part: r"model-1\.safetensors' cannot be read \(missing; ",
    no_index: r"index\.json' is not an index of safetensors files",
    encoder_decoder: "its architecture, t5, is an encoder-decoder; choose",
    no_language_model: "its architecture, vit, is not a causal language model of transformers",
    odd_field: "cannot be loaded: .*num_hidden_layers",
}


@pytest.fixture
def nothing_loads(monkeypatch):
    monkeypatch.setattr(loading.AutoModelForCausalLM, "from_pretrained", lambda *_, **__: pytest.fail("loaded"))


@pytest.mark.parametrize(("spoil", "complaint"), SPOILT.items(), ids=[spoil.__name__ for spoil in SPOILT])
@pytest.mark.usefixtures("nothing_loads")
def test_what_cannot_work_is_said_before_weights_are_read(folder, spoil, complaint):
    spoil(folder)
    with pytest.raises(ConfigError, match=f"(?s){complaint}"):
        load_policy(folder)


@pytest.mark.usefixtures("nothing_loads")
def test_of_a_teacher_it_is_said_before_the_student_loads(folder, configured):
    encoder_decoder(folder)
    with pytest.raises(ConfigError, match=r"^teacher: model .*, t5, is an encoder-decoder"):
        run_stage(configured(f"teacher.name={folder}"))
