"""Frozen policies whose linear layers are in few bits."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest
import torch

from dopd_lightning.errors import ConfigError
from dopd_lightning.policies import load_policy, load_tokenizer, loading
from dopd_lightning.scores import head_of, is_read_right

# torch's own, as bitsandbytes is imported.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")

TEACHER = Path(str(files("dopd_lightning") / "assets" / "quickstart_teacher"))


def bytes_of_linear_layers(policy):
    return sum(weight.nbytes for name, weight in policy.named_parameters() if "proj" in name)


def logp(policy):
    ids = load_tokenizer(TEACHER)("12 + 34 = 46, 46 + 5 = 51", return_tensors="pt").input_ids
    with torch.no_grad():
        return policy(input_ids=ids).logits.float().log_softmax(-1)


@pytest.mark.parametrize(
    ("quantization", "dtype", "share", "nats"),
    [
        ("int8", "float32", 1 / 4, 0.005),
        ("int4", "float32", 1 / 8, 0.1),
        ("int8", "bfloat16", 1 / 4, 0.005),
        ("int4", "bfloat16", 1 / 8, 0.1),
    ],
)
def test_it_says_nearly_the_same_in_fewer_bytes_and_its_head_is_read(quantization, dtype, share, nats):
    whole, policy = load_policy(TEACHER), load_policy(TEACHER, quantization=quantization, dtype=dtype)
    assert bytes_of_linear_layers(policy) == share * bytes_of_linear_layers(whole)
    expected = logp(whole)
    divergence = (expected.exp() * (expected - logp(policy))).sum(-1).mean().item()
    assert 0 < divergence < nats
    head = head_of(policy, len(load_tokenizer(TEACHER)))
    assert head is not None
    assert is_read_right(head, policy)


def test_another_number_of_bits(models):
    with pytest.raises(ConfigError, match="quantization: 'int3' is not one of int4, int8"):
        load_policy(models / "student", quantization="int3")


def test_without_bitsandbytes(models, monkeypatch):
    monkeypatch.setattr(loading, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"quantization: 'int8' needs bitsandbytes .*\[quantized\]"):
        load_policy(models / "student", quantization="int8")
