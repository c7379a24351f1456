"""A prompt is read once for all its responses, which are those that reading it for each would give."""

from __future__ import annotations

import pytest
import torch

from dopd_lightning.rollout import Sampling, generate
from dopd_lightning.rollout.prefill import prefill

PROMPTS = [[40, 41, 42, 43, 44, 45], [50], [60, 61]]
TWELVE = Sampling(max_new_tokens=12)
ATTENTION = {
    "full": {},
    "sliding": {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 0},
    "sliding and full": {"model_type": "gemma3_text", "sliding_window": 4, "sliding_window_pattern": 2},
}
STATES = {
    "mamba": {"model_type": "mamba", "state_size": 4, "use_mambapy": False},
    "convolution and full": {"model_type": "lfm2", "layer_types": ["conv", "full_attention"]},
}


@pytest.fixture
def write(tokenizer):
    """Three responses to each prompt, longer than a sliding window."""

    def call(policy, prompts=PROMPTS, sampling=TWELVE, samples=3):
        torch.manual_seed(0)
        return generate(
            policy,
            prompts,
            sampling,
            eos_ids=[],
            pad_id=0,
            vocabulary_size=len(tokenizer),
            samples_per_prompt=samples,
        )

    return call


@pytest.fixture
def rows_read(make_policy):
    """A policy, and the shapes of what it has read."""

    def watch(**fields):
        policy, shapes = make_policy(**fields), []
        policy.register_forward_pre_hook(
            lambda _, __, given: shapes.append(tuple(given["input_ids"].shape)), with_kwargs=True
        )
        return policy, shapes

    return watch


@pytest.mark.parametrize("fields", (ATTENTION | STATES).values(), ids=(ATTENTION | STATES).keys())
@pytest.mark.parametrize("sampling", [TWELVE, Sampling(max_new_tokens=12, top_k=1)], ids=["sampled", "greedy"])
def test_responses_are_those_of_prompts_read_for_each(write, make_policy, monkeypatch, fields, sampling):
    policy = make_policy(**fields)
    responses = write(policy, sampling=sampling)
    monkeypatch.setattr("dopd_lightning.rollout.transformers_engine.prefill", lambda *_: None)
    assert responses == write(policy, sampling=sampling)
    assert len({tuple(response) for response in responses}) == (3 if sampling.top_k else 9), "or any would do"


@pytest.mark.parametrize("fields", ATTENTION.values(), ids=ATTENTION.keys())
def test_a_prompt_is_read_once_and_its_last_token_for_each_response(write, rows_read, fields):
    policy, shapes = rows_read(**fields)
    write(policy)
    assert shapes == [(3, 5), *[(9, 1)] * 12]


def test_a_prompt_with_one_response_is_read_in_one_piece(write, rows_read):
    policy, shapes = rows_read()
    write(policy, samples=1)
    assert shapes == [(3, 6), *[(3, 1)] * 11]


def test_a_prompt_of_one_token_has_nothing_to_share(write, rows_read):
    policy, shapes = rows_read()
    write(policy, prompts=[[40], [50]])
    assert shapes == [(6, 1)] * 12


@pytest.mark.parametrize("fields", STATES.values(), ids=STATES.keys())
def test_states_besides_keys_and_values_are_left_to_transformers(make_policy, fields):
    ids = torch.tensor([[40, 41, 42]])
    assert prefill(make_policy(**fields), ids, torch.ones_like(ids), repeats=2) is None
