"""Behaviour of the vLLM engine in this process; responses are tested with all engines."""

from __future__ import annotations

import sys

import pytest
import torch

from dopd_lightning.errors import ConfigError, EngineError
from dopd_lightning.rollout import VLLMEngine


def test_without_vllm_it_is_said_at_once(monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(ConfigError, match=r"needs vllm, which is not installed; pip install '\.\[vllm\]'"):
        VLLMEngine()


@pytest.mark.usefixtures("stand_in_module")
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dtype": "int8"}, "dtype: 'int8' is not one of bfloat16, float16, float32"),
        ({"gpu_memory_utilization": 1.5}, "gpu_memory_utilization: 1.5 must be above 0 and at most 1"),
        ({"max_model_len": 1}, "max_model_len: 1 must be at least 2"),
    ],
)
def test_settings_that_cannot_work(settings, message):
    with pytest.raises(ConfigError, match=message):
        VLLMEngine(**settings)


@pytest.mark.usefixtures("stand_in_module")
def test_it_leaves_the_processs_random_numbers_alone(make_policy):
    policy = make_policy(0)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    VLLMEngine(dtype="float32").synchronise(policy)
    assert torch.get_rng_state().equal(before)


@pytest.mark.usefixtures("stand_in_module")
def test_weights_that_do_not_all_arrive_are_found_out(make_policy, monkeypatch):
    engine = VLLMEngine(dtype="float32")
    engine.synchronise(make_policy(0))
    monkeypatch.setattr(sys.modules["vllm"].LLM, "collective_rpc", lambda *args, **kwargs: None)
    with pytest.raises(EngineError, match="log-probabilities differ from the student's"):
        engine.synchronise(make_policy(1))


@pytest.mark.usefixtures("stand_in_module")
def test_it_is_for_one_process(make_policy, monkeypatch):
    monkeypatch.setattr("dopd_lightning.rollout.vllm_in_process.number_of_processes", lambda: 2)
    with pytest.raises(ConfigError, match="vllm is for one process, not for 2; use engine=vllm_server"):
        VLLMEngine().synchronise(make_policy(0))
