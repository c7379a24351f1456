"""Policies and tokenizers from folders, and new ones."""

from __future__ import annotations

import copy
import json

import pytest
import torch

from dopd_lightning.errors import ConfigError
from dopd_lightning.policies import load_policy, load_tokenizer, new_policy, tokenizer_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory, make_policy, tokenizer):
    folder = tmp_path_factory.mktemp("policy")
    make_policy().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_saved_policy_loads_in_float32(folder, make_policy):
    policy = load_policy(folder)
    ids = torch.tensor([[40, 41]])
    torch.testing.assert_close(policy(input_ids=ids).logits, make_policy()(input_ids=ids).logits)
    assert policy.dtype == torch.float32
    assert load_policy(str(folder), dtype="bfloat16").dtype == torch.bfloat16


def test_an_unknown_dtype(folder):
    with pytest.raises(ConfigError, match="dtype: 'float8' is not one of auto, bfloat16, float16, float32"):
        load_policy(folder, dtype="float8")


def test_a_folder_with_a_model_alone_is_no_tokenizer(tmp_path, make_policy):
    make_policy().config.save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="has no vocabulary"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("load", [load_policy, load_tokenizer])
@pytest.mark.parametrize("name", ["./nowhere", "/no/such/folder", "no/such/folder"])
def test_a_folder_that_is_not_there(load, name):
    with pytest.raises(ConfigError, match=f"'{name}': there is no such folder"):
        load(name)


def test_weights_that_are_not_safetensors_are_refused(tmp_path, make_policy):
    policy = make_policy()
    policy.config.save_pretrained(tmp_path)
    torch.save(policy.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ConfigError, match="has no safetensors weights"):
        load_policy(tmp_path)


def test_code_that_comes_with_a_model_is_not_run(tmp_path):
    auto_map = {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "evil", "auto_map": auto_map}))
    (tmp_path / "evil.py").write_text("raise SystemExit('it was run')")
    with pytest.raises(ConfigError, match="trust_remote_code"):
        load_policy(tmp_path)


def test_a_folder_without_a_tokenizer(tmp_path):
    with pytest.raises(ConfigError, match=r"tokenizer .* cannot be loaded"):
        load_tokenizer(tmp_path)


def test_a_tokenizer_without_an_end(tmp_path, tokenizer):
    endless = copy.deepcopy(tokenizer)
    endless.eos_token = None
    endless.save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="has no eos_token"):
        load_tokenizer(tmp_path)


def test_the_tokenizer_is_the_one_given_or_the_policys_own(folder, make_policy, tokenizer):
    policy = load_policy(folder)
    assert tokenizer_of(policy, tokenizer) is tokenizer
    assert tokenizer_of(policy, None).get_vocab() == tokenizer.get_vocab()
    assert tokenizer_of(make_policy(), folder).get_vocab() == tokenizer.get_vocab()
    with pytest.raises(ConfigError, match="pass tokenizer="):
        tokenizer_of(make_policy(), None)


def test_new_policies_follow_their_seed_and_leave_the_global_state_alone(make_policy):
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first, again, other = make_policy(1), make_policy(1), make_policy(2)
    assert torch.equal(torch.get_rng_state(), state)
    torch.testing.assert_close(first.state_dict(), again.state_dict())
    assert not torch.equal(first.lm_head.weight, other.lm_head.weight)


def test_a_new_policy_takes_the_tokenizers_vocabulary_and_special_tokens(make_policy, tokenizer):
    config = make_policy().config
    assert config.vocab_size == len(tokenizer)
    assert (config.eos_token_id, config.pad_token_id) == (tokenizer.eos_token_id, tokenizer.pad_token_id)


@pytest.mark.parametrize("architecture", [{}, {"model_type": "nonesuch"}])
def test_an_unknown_architecture(tokenizer, architecture):
    with pytest.raises(ConfigError, match="model_type"):
        new_policy(architecture, tokenizer)
