"""The contract of all engines: responses and log-probabilities are those of the policy, whoever computes them.

``DOPD_TEST_VLLM=1`` adds a vLLM server and a vLLM in this process to the stand-ins.
"""

from __future__ import annotations

import os
from functools import partial

import pytest
import torch
from lightning import Trainer
from torch.utils.data import DataLoader

from dopd_lightning.fusion import DOPD
from dopd_lightning.rollout import Sampling, StudentRollout, TransformersEngine, VLLMEngine, VLLMServerEngine
from dopd_lightning.training.module import DOPDModule

REAL = pytest.mark.skipif(os.environ.get("DOPD_TEST_VLLM") != "1", reason="takes a vLLM, and DOPD_TEST_VLLM=1")
PROMPTS = [[40, 41, 42, 43, 44, 45], [50], [60, 61]]
GREEDY = Sampling(max_new_tokens=6, temperature=0)
KINDS = [
    "transformers",
    "stand-in server",
    "stand-in in process",
    pytest.param("server", marks=REAL),
    pytest.param("in process", marks=REAL),
]


@pytest.fixture(scope="module")
def vllm_in_process():
    """One for all tests: there cannot be two in a process."""
    return VLLMEngine(dtype="float32", max_model_len=128, options={"enforce_eager": True, "max_num_seqs": 64})


@pytest.fixture(params=KINDS)
def engine(request, make_served_policy, stand_in, tmp_path):
    """An engine that holds another policy's weights until it is synchronised."""
    if request.param == "transformers":
        return TransformersEngine()
    if request.param == "in process":
        return request.getfixturevalue("vllm_in_process")
    if request.param == "stand-in in process":
        request.getfixturevalue("stand_in_module")
        return VLLMEngine(dtype="float32")
    server = request.param == "server"
    url = request.getfixturevalue("vllm_server") if server else stand_in(make_served_policy(7)).url
    return VLLMServerEngine(url=url, weights=tmp_path / "weights")


@pytest.fixture
def write(engine, tokenizer):
    """Responses that the engine writes for a policy after synchronising."""

    def call(policy, prompts=PROMPTS, sampling=GREEDY, synchronise=True, **options):
        if synchronise:
            engine.synchronise(policy)
        options = {"eos_ids": [], "pad_id": 0, "vocabulary_size": len(tokenizer)} | options
        return engine.generate(policy, prompts, sampling, **options)

    return call


@torch.no_grad()
def greedy(policy, prompt, tokens, vocabulary_size):
    """One token after the other, and the log-probabilities that the policy gives to them among all its outputs."""
    ids, logps = list(prompt), []
    for _ in range(tokens):
        logits = policy(input_ids=torch.tensor([ids])).logits[0, -1]
        ids.append(int(logits[:vocabulary_size].argmax()))
        logps.append(logits.log_softmax(-1)[ids[-1]].item())
    return ids[len(prompt) :], logps


def test_greedy_responses_and_their_log_probabilities_are_those_of_each_prompt_alone(
    write, make_served_policy, tokenizer
):
    policy = make_served_policy(0)
    expected = [greedy(policy, prompt, 6, len(tokenizer)) for prompt in PROMPTS]
    written = write(policy, logps=True)
    assert written.ids == [ids for ids, _ in expected]
    torch.testing.assert_close(written.logps, [logps for _, logps in expected], atol=1e-4, rtol=1e-4)
    assert len({tuple(ids) for ids in written.ids}) == 3, "or the test could not tell them apart"
    assert write(policy).logps is None


def test_log_probabilities_of_samples_are_the_policys_own_at_temperature_1_before_top_k(
    write, make_served_policy, tokenizer
):
    policy = make_served_policy(0)
    sampling = Sampling(max_new_tokens=4, temperature=1.7, top_k=20, top_p=0.9)
    written = write(policy, [[40, 41]], sampling, samples_per_prompt=3, logps=True, eos_ids=[99])
    for ids, logps in zip(written.ids, written.logps, strict=True):
        with torch.no_grad():
            logits = policy(input_ids=torch.tensor([[40, 41, *ids]])).logits[0, 1:-1]
        expected = logits.log_softmax(-1).gather(1, torch.tensor(ids)[:, None])[:, 0]
        torch.testing.assert_close(torch.tensor(logps), expected, atol=1e-4, rtol=1e-4)


def test_after_synchronising_it_writes_with_the_new_weights(write, make_served_policy, tokenizer):
    before, after = make_served_policy(0), make_served_policy(1)
    for policy in (before, after, before):
        expected = [greedy(policy, prompt, 6, len(tokenizer))[0] for prompt in PROMPTS]
        assert write(policy).ids == expected


def test_responses_to_one_prompt_are_next_to_each_other(write, make_served_policy):
    policy = make_served_policy(0)
    once = write(policy).ids
    almost_greedy = Sampling(max_new_tokens=6, top_k=1)
    assert write(policy, sampling=almost_greedy, samples_per_prompt=2).ids == [each for each in once for _ in range(2)]


def test_a_response_ends_with_the_first_of_several_end_of_sequence_tokens_and_with_no_other(
    write, make_served_policy, tokenizer
):
    policy = make_served_policy(0)
    policy.generation_config.eos_token_id = policy.config.eos_token_id
    whole = write(policy).ids
    eos_ids = [whole[0][3], whole[1][1]]
    for before, after in zip(whole, write(policy, eos_ids=eos_ids, pad_id=eos_ids[0]).ids, strict=True):
        ends = [count for count, token in enumerate(before, start=1) if token in eos_ids]
        assert after == before[: ends[0]] if ends else before
    end_alone = Sampling(max_new_tokens=64)
    written = write(policy, [[40]], end_alone, samples_per_prompt=16, synchronise=False).ids
    assert {len(ids) for ids in written} == {64}, "a tokenizer's own end-of-sequence token ends nothing"


@pytest.mark.parametrize("sampling", [Sampling(max_new_tokens=1), Sampling(max_new_tokens=1, temperature=0.5)])
def test_samples_follow_the_policy_at_the_sampling_temperature(write, make_served_policy, tokenizer, sampling):
    policy, count = make_served_policy(0, initializer_range=0.3), 1000
    torch.manual_seed(0)
    samples = torch.tensor(write(policy, [[40, 41]], sampling, samples_per_prompt=count).ids)[:, 0]
    with torch.no_grad():
        logits = policy(input_ids=torch.tensor([[40, 41]])).logits[0, -1, : len(tokenizer)]
    likeliest = int(logits.argmax())
    expected, other = ((logits / t).softmax(-1)[likeliest].item() for t in (sampling.temperature, 2.0))
    tolerance = 5 * (expected * (1 - expected) / count) ** 0.5
    assert (samples == likeliest).float().mean().item() == pytest.approx(expected, abs=tolerance)
    assert other != pytest.approx(expected, abs=tolerance), "or the test could not tell them apart"


def test_equal_prompts_are_answered_differently_and_a_seed_brings_the_answers_back(write, make_served_policy):
    policy, sampling = make_served_policy(0), Sampling(max_new_tokens=12)

    def sample(seed):
        torch.manual_seed(seed)
        return write(policy, [[40, 41]] * 4, sampling, samples_per_prompt=2, synchronise=False).ids

    write(policy)
    first = sample(0)
    assert len({tuple(ids) for ids in first}) == 8
    assert sample(0) == first
    assert sample(1) != first


def test_the_padding_of_a_padded_vocabulary_is_never_written(write, make_served_policy, tokenizer):
    policy = make_served_policy(0)
    with torch.no_grad():
        policy.get_output_embeddings().weight[len(tokenizer) :] *= 5
    size = policy.config.vocab_size
    tempted = [greedy(policy, prompt, 1, size)[0][0] for prompt in PROMPTS]
    assert max(tempted) >= len(tokenizer), "or there would be nothing to keep it from"
    for sampling in (Sampling(max_new_tokens=32), Sampling(max_new_tokens=32, temperature=0)):
        assert max(max(ids) for ids in write(policy, sampling=sampling).ids) < len(tokenizer)


def test_a_run_trains_on_its_responses_and_leaves_it_with_the_students_weights(
    engine, make_served_policy, tokenizer, tmp_path
):
    examples = [{"prompt": "Add 1 2.", "privileged": "first 1", "answer": "3"}, {"prompt": "3?", "answer": "3"}]
    module = DOPDModule(
        make_served_policy(0),
        make_served_policy(1),
        tokenizer=tokenizer,
        fusion=DOPD(top_k=8),
        rollout=StudentRollout(max_new_tokens=8, samples_per_prompt=2),
        engine=engine,
        optimizer=partial(torch.optim.SGD, lr=0.5),
    )
    quiet = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    trainer = Trainer(accelerator="cpu", max_epochs=1, default_root_dir=tmp_path, **dict.fromkeys(quiet, False))
    before = [greedy(module.student, prompt, 8, len(tokenizer))[0] for prompt in PROMPTS]
    loaders = [DataLoader([examples] * count, batch_size=None) for count in (3, 1)]
    trainer.fit(module, *loaders)
    after = [greedy(module.student, prompt, 8, len(tokenizer))[0] for prompt in PROMPTS]
    assert after != before, "or the weights might be the old ones"
    sampling = Sampling(max_new_tokens=8, temperature=0)
    rest = {"eos_ids": [], "pad_id": 0, "vocabulary_size": len(tokenizer)}
    assert engine.generate(module.student.eval(), PROMPTS, sampling, **rest).ids == after
