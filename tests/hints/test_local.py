"""A writer in this process: tiny models that say what transformers' own generation has them say."""

from __future__ import annotations

import pytest
import torch

from dopd_lightning.errors import ConfigError
from dopd_lightning.hints import Failure, LocalWriter, Reply, Tokens

MESSAGES = ["Add 1 2.", "first", "Add the numbers 1 2 3 step by step.", "<answer>", "Hint: then 3."]


@pytest.fixture(scope="module")
def model(tmp_path_factory, make_policy, tokenizer):
    """Half of its tokens end a reply, so that it comes to an end."""
    folder = tmp_path_factory.mktemp("writer")
    policy = make_policy(5)
    policy.generation_config.eos_token_id = [*range(3, 280, 2), tokenizer.eos_token_id]
    policy.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def write(model, *messages, **settings):
    with LocalWriter(name=str(model), device="cpu", **settings).open() as ask:
        replies = dict(ask(messages))
    assert sorted(replies) == [*range(len(messages))]
    return [replies[index] for index in range(len(messages))]


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_greedy_replies_are_those_of_the_model_whatever_the_batches(model, make_policy, tokenizer, batch_size):
    replies = write(model, *MESSAGES, temperature=0, max_new_tokens=12, batch_size=batch_size)
    policy = make_policy(5)
    ends = {*range(3, 280, 2), tokenizer.eos_token_id}
    for message, reply in zip(MESSAGES, replies, strict=True):
        chat = [{"role": "user", "content": message}]
        prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=True)["input_ids"]
        ids = list(prompt)
        while len(ids) < len(prompt) + 12 and (len(ids) == len(prompt) or ids[-1] not in ends):
            ids.append(int(policy(input_ids=torch.tensor([ids])).logits[0, -1, : len(tokenizer)].argmax()))
        text = tokenizer.decode(ids[len(prompt) :], skip_special_tokens=True).strip()
        tokens = Tokens(len(prompt), len(ids) - len(prompt))
        if ids[-1] not in ends:
            assert reply == Failure("the reply was cut off by the length limit; raise max_new_tokens", tokens)
        else:
            assert reply == (Reply(text, tokens) if text else Failure("the reply is empty", tokens))
    assert any(isinstance(reply, Reply) for reply in replies)


def test_a_prompt_without_room_fails_alone(model):
    long = "1 2 3 " * 300
    replies = write(model, "Add 1 2.", long, "first", max_new_tokens=16, temperature=0, batch_size=2)
    assert isinstance(replies[1], Failure)
    assert "exceed 512 positions" in replies[1].sentence
    assert replies[0] == write(model, "Add 1 2.", max_new_tokens=16, temperature=0)[0]


def test_the_global_generator_decides_the_samples(model):
    def sampled(seed):
        torch.manual_seed(seed)
        return write(model, *MESSAGES, temperature=2.0, max_new_tokens=8)

    assert sampled(0) == sampled(0)
    assert sampled(0) != sampled(1)


def test_a_model_that_does_not_chat(make_policy, tokenizer, tmp_path):
    make_policy(0).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "chat_template.jinja").unlink()
    with pytest.raises(ConfigError, match=r"^name: .* is not a chat model: its tokenizer has no chat template"):
        write(tmp_path, "a")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 0}, "batch_size: 0 must be at least 1"),
        ({"temperature": -1}, "temperature: -1 must be at least 0"),
        ({"max_new_tokens": 0}, "max_new_tokens: 0 must be at least 1"),
        ({"device": "toaster"}, "device: 'toaster' is not a device of torch"),
        ({"chat_template_kwargs": {"tokenize": True}}, "chat_template_kwargs: 'tokenize' is set by"),
    ],
)
def test_settings_that_cannot_work(settings, message):
    with pytest.raises(ConfigError, match=f"^{message}"):
        LocalWriter(name="anything", **settings)


def test_a_model_that_is_not_there_or_too_small(model, tmp_path):
    with pytest.raises(ConfigError, match="there is no such folder"):
        write(tmp_path / "nowhere", "a")
    with pytest.raises(ConfigError, match=r"^max_new_tokens: 512 leaves no room for a prompt in 512 positions"):
        write(model, "a", max_new_tokens=512)


def test_what_is_written_does_not_depend_on_where(model):
    here, there = LocalWriter(name=str(model), device="cpu"), LocalWriter(name=str(model), batch_size=64)
    assert here.settings() == there.settings()
    assert here.settings() != LocalWriter(name=str(model), temperature=0.1).settings()
    assert here.settings()["name"] == str(model)
