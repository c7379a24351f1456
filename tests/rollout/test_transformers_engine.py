"""Rollouts are samples of the policy, cut at its end-of-sequence token, and nothing else."""

from __future__ import annotations

import pytest
import torch
from transformers import GenerationConfig

from dopd_lightning.errors import ConfigError
from dopd_lightning.rollout import Sampling, generate

PROMPTS = [[40, 41, 42, 43, 44, 45], [50], [60, 61]]
GREEDY = Sampling(max_new_tokens=6, temperature=0)


@pytest.fixture
def write(make_policy, tokenizer):
    """`generate` with the plainest arguments."""

    def call(policy=None, prompts=PROMPTS, sampling=GREEDY, **options):
        options = {"eos_ids": [], "pad_id": 0, "vocabulary_size": len(tokenizer)} | options
        return generate(make_policy() if policy is None else policy, prompts, sampling, **options)

    return call


def test_greedy_responses_are_those_of_each_prompt_alone_token_by_token(write, make_policy, tokenizer):
    policy, expected = make_policy(), []
    for prompt in PROMPTS:
        ids = list(prompt)
        for _ in range(6):
            ids.append(int(policy(input_ids=torch.tensor([ids])).logits[0, -1, : len(tokenizer)].argmax()))
        expected.append(ids[len(prompt) :])
    assert write(policy) == expected
    assert len({tuple(response) for response in expected}) == 3, "or the test could not tell them apart"


def test_responses_to_one_prompt_are_next_to_each_other(write):
    almost_greedy = Sampling(max_new_tokens=6, top_k=1)
    greedy = write()
    assert write(sampling=almost_greedy, samples_per_prompt=2) == [each for each in greedy for _ in range(2)]


@pytest.mark.parametrize("pad_is_eos", [False, True])
def test_a_response_ends_with_the_first_of_several_end_of_sequence_tokens(write, pad_is_eos):
    whole = write()
    eos_ids = [whole[0][3], whole[1][1]]  # either may end either
    cut = write(eos_ids=eos_ids, pad_id=eos_ids[0] if pad_is_eos else 0)
    for before, after in zip(whole, cut, strict=True):
        ends = [n for n, token in enumerate(before) if token in eos_ids]
        assert after == (before[: ends[0] + 1] if ends else before)
    assert cut[0][-1] in eos_ids
    assert cut[1][-1] in eos_ids


def test_a_response_cut_at_the_limit_has_no_end_of_sequence_token(write):
    assert [len(response) for response in write(sampling=Sampling(max_new_tokens=2, temperature=0))] == [2, 2, 2]


def test_the_policys_own_generation_config_has_no_say_and_is_put_back(write, make_policy):
    sampling = Sampling(max_new_tokens=8)

    def sample(policy):
        torch.manual_seed(0)
        return write(policy, sampling=sampling)

    policy = make_policy()
    plain = sample(policy)
    own = GenerationConfig(
        do_sample=False,
        top_k=1,
        repetition_penalty=5.0,
        min_new_tokens=3,
        max_length=3,
        eos_token_id=plain[0][0],
        suppress_tokens=plain[0][:2],
    )
    policy.generation_config = own
    assert sample(policy) == plain
    assert policy.generation_config is own


def test_the_generation_config_is_put_back_when_generation_fails(write, make_policy):
    policy = make_policy()
    own = policy.generation_config
    with pytest.raises(Exception, match="index"):
        write(policy, prompts=[[10**6]])
    assert policy.generation_config is own


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_samples_follow_the_policy_at_the_sampling_temperature(write, make_policy, tokenizer, temperature):
    policy = make_policy(initializer_range=0.3)
    torch.manual_seed(0)
    sampling = Sampling(max_new_tokens=1, temperature=temperature)
    samples = torch.tensor(write(policy, [[40, 41]], sampling, samples_per_prompt=4000))[:, 0]
    logits = policy(input_ids=torch.tensor([[40, 41]])).logits[0, -1, : len(tokenizer)].detach()
    likeliest = int(logits.argmax())
    expected, other = ((logits / t).softmax(-1)[likeliest].item() for t in (temperature, 3 - temperature))
    tolerance = 5 * (expected * (1 - expected) / 4000) ** 0.5
    assert (samples == likeliest).float().mean().item() == pytest.approx(expected, abs=tolerance)
    assert other != pytest.approx(expected, abs=2 * tolerance), "or the test could not tell them apart"


def test_the_padding_of_a_padded_vocabulary_is_never_written(write, make_policy, tokenizer):
    padded = make_policy(vocab_size=4 * len(tokenizer), initializer_range=0.02)
    torch.manual_seed(0)
    for sampling in (Sampling(max_new_tokens=32), Sampling(max_new_tokens=32, temperature=0)):
        assert max(max(response) for response in write(padded, sampling=sampling)) < len(tokenizer)


@pytest.mark.parametrize(
    ("setting", "value"), [("max_new_tokens", 0), ("temperature", -0.1), ("top_p", 0.0), ("top_p", 1.1), ("top_k", -1)]
)
def test_settings_out_of_range(setting, value):
    with pytest.raises(ConfigError, match=f"{setting}: {value}"):
        Sampling(**{setting: value})
