"""Greedy answers to bare prompts, and how many of them are right."""

from __future__ import annotations

import copy

import pytest
from torch.utils.data import DataLoader

from dopd_lightning.data import PromptFormat, collate
from dopd_lightning.errors import ConfigError, DataError
from dopd_lightning.fusion import Data
from dopd_lightning.rollout import DatasetRollout, Sampling, generate
from dopd_lightning.sources import Ensemble
from dopd_lightning.training.module import DOPDModule
from dopd_lightning.training.privileged import PrivilegedAccess
from dopd_lightning.training.response_writer import ResponseWriter

UNEQUAL = [
    [{"prompt": "1 2", "answer": "yes"}, {"prompt": "1", "answer": "no"}, {"prompt": "2", "answer": "no"}],
    [{"prompt": "3", "answer": "yes"}],
]


def right(response, example):
    return 1.0 if example["answer"] == "yes" else 0.99


@pytest.mark.parametrize("stage", ["val", "test"])
def test_accuracy_is_the_share_of_examples_whatever_their_batches(make_module, make_trainer, stage):
    trainer, module = make_trainer(), make_module(verifier=right)
    evaluate = trainer.validate if stage == "val" else trainer.test
    (metrics,) = evaluate(module, DataLoader(UNEQUAL, batch_size=None), verbose=False)
    assert metrics == {f"{stage}/accuracy": 0.5}


def test_several_dataloaders_have_an_accuracy_each(make_module, make_trainer):
    loaders = [DataLoader(batches, batch_size=None) for batches in (UNEQUAL, UNEQUAL[1:])]
    first, second = make_trainer().validate(make_module(verifier=right), loaders, verbose=False)
    assert first == {"val/accuracy/dataloader_idx_0": 0.5}
    assert second == {"val/accuracy/dataloader_idx_1": 1.0}


def test_accuracy_is_exact_in_bfloat16(make_module, make_trainer):
    examples = [{"prompt": "1", "answer": "no" if number % 4 == 0 else "yes"} for number in range(600)]
    module = make_module(verifier=right, rollout=DatasetRollout(max_new_tokens=1))
    loader = DataLoader(examples, batch_size=200, collate_fn=collate)
    (metrics,) = make_trainer(precision="bf16-true").validate(module, loader, verbose=False)
    assert metrics == {"val/accuracy": 0.75}


def test_accuracy_starts_anew_each_time(make_module, make_trainer):
    module = make_module(verifier=right)
    for batches, accuracy in ((UNEQUAL, 0.5), (UNEQUAL[1:], 1.0)):
        (metrics,) = make_trainer().validate(module, DataLoader(batches, batch_size=None), verbose=False)
        assert metrics["val/accuracy"] == accuracy


def greedy_answer(policy, prompt, tokenizer):
    sampling = Sampling(max_new_tokens=8, temperature=0)
    pads = {"eos_ids": [tokenizer.eos_token_id], "pad_id": 0, "vocabulary_size": len(tokenizer)}
    (tokens,) = generate(policy, [tokenizer(prompt)["input_ids"]], sampling, **pads)
    return tokenizer.decode(tokens, skip_special_tokens=True)


@pytest.mark.parametrize(("role", "seed"), [("student", 0), ("teacher", 1)])
def test_answers_are_greedy_and_to_the_bare_prompt(
    make_module, make_policy, make_trainer, tokenizer, examples, role, seed
):
    seen = []
    module = make_module(verifier=lambda response, example: seen.append((example["prompt"], response)) or 1.0)
    with module.answering_as(role):
        make_trainer().validate(module, DataLoader([examples], batch_size=None), verbose=False)
    expected = [greedy_answer(make_policy(seed), example["prompt"], tokenizer) for example in examples]
    assert seen == [(example["prompt"], answer) for example, answer in zip(examples, expected, strict=True)]


def test_answers_are_read_as_they_were_written(make_module, tokenizer, monkeypatch):
    """A tokenizer may ask for spaces to be cleaned up, as all of Llama 3's do."""
    cleans, written = copy.deepcopy(tokenizer), "x != 'm' , y ."
    cleans.clean_up_tokenization_spaces = True
    module = make_module(tokenizer=cleans)
    monkeypatch.setattr(ResponseWriter, "__call__", lambda *_: [tokenizer.encode(written, add_special_tokens=False)])
    assert module.answer([{"prompt": "1 2"}]) == [written]


def test_prompts_are_privileged_where_that_is_asked_for(make_module, make_policy, tokenizer):
    example = {"prompt": "1 2", "privileged": "3 4"}
    shown = PromptFormat().text(example, tokenizer, privileged=True)
    assert "3 4" in shown
    module = make_module(privileged=PrivilegedAccess(evaluation=True))
    assert module.answer([example]) == [greedy_answer(make_policy(0), shown, tokenizer)]


def test_the_student_answers_again_afterwards_even_after_an_exception(make_module, examples):
    module = make_module()
    before = module.answer(examples)
    with module.answering_as("teacher"):
        assert module.answer(examples) != before
    with pytest.raises(KeyError), module.answering_as("teacher"):
        raise KeyError
    assert module.answer(examples) == before


def test_who_cannot_answer(make_module, make_policy, tokenizer):
    alone = DOPDModule(make_policy(), fusion=Data(), rollout=DatasetRollout(), tokenizer=tokenizer)
    for module, role, message in (
        (make_module(teacher=Ensemble({"one": make_policy(1)})), "teacher", "it has several policies"),
        (alone, "teacher", "there is no teacher"),
    ):
        with pytest.raises(ConfigError, match=message), module.answering_as(role):
            pass


def test_a_named_verifier_reads_the_answer(make_module, make_policy, make_trainer, tokenizer):
    answer = greedy_answer(make_policy(0), "1 2", tokenizer).strip()
    batch = [{"prompt": "1 2", "answer": answer}, {"prompt": "1 2", "answer": answer + "!"}]
    (metrics,) = make_trainer().validate(make_module(), DataLoader([batch], batch_size=None), verbose=False)
    assert metrics["val/accuracy"] == 0.5


def test_predictions_are_prompts_with_answers(make_module, make_policy, make_trainer, tokenizer, examples):
    (rows,) = make_trainer().predict(make_module(), DataLoader([examples], batch_size=None))
    assert [row["prompt"] for row in rows] == [example["prompt"] for example in examples]
    assert rows[0]["answer"] == "3"
    assert [row["response"] for row in rows] == [
        greedy_answer(make_policy(0), example["prompt"], tokenizer) for example in examples
    ]


def test_a_prompt_beyond_the_limit_is_refused(make_module, examples):
    with pytest.raises(DataError, match="max_tokens=3"):
        make_module(prompt_format=PromptFormat(max_tokens=3)).answer(examples)
