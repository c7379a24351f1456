"""A server's weights, its answers that are no answers, and whole runs with it."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import pytest
import torch
from lightning import Trainer
from torch.utils.data import DataLoader

from dopd_lightning.cli.stages import run_stage
from dopd_lightning.errors import ConfigError, EngineError
from dopd_lightning.fusion import DOPD
from dopd_lightning.rollout import DatasetRollout, MixedRollout, Sampling, StudentRollout, VLLMServerEngine
from dopd_lightning.training.module import DOPDModule

GREEDY = Sampling(max_new_tokens=4, temperature=0)
PROBE = list(range(10, 18))  # what an engine is asked after it was synchronised


@pytest.fixture
def served(stand_in, make_policy, tmp_path):
    """A server with an untrained policy, and an engine that talks to it."""

    def serve(seed=7, timeout=20.0, model=None, policy=None, **options):
        server = stand_in(make_policy(seed) if policy is None else policy, **options)
        return server, VLLMServerEngine(url=server.url, weights=tmp_path / "weights", timeout=timeout, model=model)

    return serve


@pytest.fixture
def ask(tokenizer):
    def write(engine, policy, sampling=GREEDY, **options):
        options = {"eos_ids": [tokenizer.eos_token_id], "pad_id": 0, "vocabulary_size": len(tokenizer)} | options
        return engine.generate(policy, [[40, 41]], sampling, **options)

    return write


def paths(server):
    return [path for path, _ in server.requests]


def weights_differ(policy, other):
    pairs = zip(policy.state_dict().values(), other.state_dict().values(), strict=True)
    return [not torch.equal(weight, another) for weight, another in pairs]


# ------------------------------------------------------------------------------------------------------- weights


def test_all_weights_arrive_tied_ones_and_in_their_own_precision(served, make_policy):
    server, engine = served()
    for student in (make_policy(0), make_policy(1).bfloat16()):
        server.policy.to(student.dtype)
        engine.synchronise(student)
        assert not any(weights_differ(student, server.policy))


def test_the_prefix_cache_is_dropped_after_the_weights_have_changed(served, make_policy):
    server, engine = served()
    engine.synchronise(make_policy(0))
    assert paths(server)[:2] == ["/collective_rpc", "/reset_prefix_cache"]
    server.instead["/reset_prefix_cache"] = lambda body: (200, {"success": False})
    with pytest.raises(EngineError, match="keeps its prefix cache"):
        engine.synchronise(make_policy(1))


def test_a_server_that_keeps_other_weights_than_it_was_given_is_found_out(served, make_policy):
    server, engine = served()
    server.instead["/collective_rpc"] = lambda body: (200, {"results": [None]})
    with pytest.raises(EngineError, match=r"log-probabilities differ from the student's by \d+\.\d\d nats"):
        engine.synchronise(make_policy(0))


def test_a_model_of_another_shape_is_refused_with_the_servers_reason(served, make_policy):
    _, engine = served(policy=make_policy(0, num_hidden_layers=3))
    with pytest.raises(EngineError, match=r"(?s)answers 500: .*collective_rpc method failed.*student's architecture"):
        engine.synchronise(make_policy(0))


def test_a_student_with_an_adapter_is_refused(served, make_policy):
    student = make_policy(0)
    student.peft_config = {"default": object()}
    with pytest.raises(ConfigError, match="adapter can only be written by transformers"):
        served()[1].synchronise(student)


# ----------------------------------------------------------------------------------- found before anything is read


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"url": "127.0.0.1:8000"}, "url: '127.0.0.1:8000' must begin with http://"),
        ({"timeout": 0}, "timeout: 0 must be above 0"),
        ({"url": "http://127.0.0.1:9"}, r"url: no vLLM server at http://127.0.0.1:9 .*cannot be reached.*start it as"),
    ],
)
def test_settings_that_cannot_work(settings, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        _ = VLLMServerEngine(weights=tmp_path, **settings).positions


def test_what_the_server_has_is_asked_once(served):
    server, engine = served(max_model_len=96)
    assert [engine.positions, engine.positions] == [96, 96]
    assert paths(server).count("/v1/models") == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "other"}, "model: 'other' is not served at .*, but student"),
        ({"models": ("a", "b")}, "model: None is not served at .*, but a, b"),
        ({"dev_mode": False}, "takes no new weights .*VLLM_SERVER_DEV_MODE=1"),
    ],
)
def test_a_server_that_cannot_be_used(served, options, message):
    with pytest.raises(ConfigError, match=message):
        _ = served(**options)[1].positions


@pytest.mark.parametrize("content", [{"hello": 1}, [], {"data": [{"id": "m"}]}])
def test_something_else_at_the_address(served, content):
    server, engine = served()
    server.instead["/v1/models"] = lambda body: (200, content)
    with pytest.raises(ConfigError, match="is not a vLLM server"):
        _ = engine.positions


def test_a_server_with_too_few_positions(served, make_policy, tokenizer):
    def module(engine, limit):
        parts = {"tokenizer": tokenizer, "rollout": StudentRollout(max_new_tokens=limit), "fusion": DOPD(top_k=8)}
        return DOPDModule(make_policy(0), make_policy(1), engine=engine, **parts)

    _, engine = served(max_model_len=32)
    assert module(engine, 30).prompt_limit == 2
    with pytest.raises(
        ConfigError, match="max_new_tokens: 32 leaves no room for a prompt in the engine's 32 positions"
    ):
        module(engine, 32)


# ------------------------------------------------------------------------------------------- answers that are none


@pytest.fixture
def completed(served, make_policy, ask):
    """Ask for completions of which the server makes what the test says."""

    def answered(change, *, logps=False, **options):
        server, engine = served(**options)

        def instead(body):
            status, content = server.complete(body)
            return change(status, content)

        server.instead["/v1/completions"] = instead
        return ask(engine, make_policy(7), logps=logps)

    return answered


def _with(field, value):
    def change(status, content):
        content["choices"][0][field] = value(content["choices"][0][field]) if callable(value) else value
        return status, content

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda *_: (500, {"error": {"message": "EngineCore died"}}), "answers 500: .*EngineCore died"),
        (lambda *_: (200, b'{"choices": [{"ind'), "answers with what is no JSON"),
        (lambda *_: (200, b""), "not as vLLM's: TypeError"),
        (lambda *_: (200, {"choices": []}), "0 responses to a prompt for which 1 were asked"),
        (_with("token_ids", None), "must know `return_token_ids`"),
        (_with("token_ids", lambda ids: ids[:2]), "a response of 2 tokens that should have 4"),
        (_with("token_ids", lambda ids: [*ids, 5]), "a response of 5 tokens that should have 4"),
        (_with("token_ids", lambda ids: [2, *ids[1:]]), "a response of 4 tokens that should have 1"),
        (_with("token_ids", lambda ids: [*ids[:3], 10**6]), "token 1000000 in a response is none of the"),
    ],
)
def test_an_answer_that_is_none(completed, change, message):
    with pytest.raises(EngineError, match=message):
        completed(change)


def test_log_probabilities_that_are_missing(completed):
    with pytest.raises(EngineError, match="not as vLLM's: TypeError"):
        completed(_with("logprobs", None), logps=True)
    with pytest.raises(EngineError, match="1 log-probabilities came with a response of 4 tokens"):
        completed(_with("logprobs", {"token_logprobs": [-1.0]}), logps=True)


def test_what_the_server_refuses_is_said_in_its_words(served, make_policy, ask):
    _, engine = served()
    with pytest.raises(EngineError, match=r"answers 400: .*temperature must be in \[0, 2\]"):
        ask(engine, make_policy(7), Sampling(max_new_tokens=4, temperature=3.0))


def test_passing_failures_are_tried_again(completed, served, make_policy, ask):
    failures = iter([503, 500])

    def twice(status, content):
        return next(failures, status), content

    _, engine = served()
    assert completed(twice).ids == ask(engine, make_policy(7)).ids


def test_a_server_that_hangs_is_asked_once(completed):
    asked = []

    def hang(status, content):
        asked.append(time.sleep(1.0))
        return status, content

    with pytest.raises(EngineError, match=r"did not answer within 0\.3 s; raise engine\.timeout"):
        completed(hang, timeout=0.3)
    assert len(asked) <= 1


def test_a_server_that_goes_away(served, make_policy, ask):
    server, engine = served()
    ask(engine, make_policy(7))
    server.shutdown()
    server.server_close()
    with pytest.raises(EngineError, match="cannot be reached"):
        ask(engine, make_policy(7))


def test_the_key_comes_from_the_environment(served, monkeypatch):
    server, engine = served()
    headers = []
    reply = server.RequestHandlerClass._reply

    def keep(handler, *args):
        headers.append(handler.headers.get("Authorization"))
        reply(handler, *args)

    monkeypatch.setattr(server.RequestHandlerClass, "_reply", keep)
    monkeypatch.setenv("VLLM_API_KEY", "secret")
    _ = engine.positions
    assert set(headers) == {"Bearer secret"}


# ---------------------------------------------------------------------------------------------------------- runs


EXAMPLES = [
    {"prompt": "Add 1 2.", "privileged": "first 1", "answer": "3", "completion": "3"},
    {"prompt": "3?", "privileged": "it is there", "answer": "3", "completion": "it is 3"},
]


@pytest.fixture
def make_module(make_policy, tokenizer):
    """Tiny policies, and a student that moves far in a step."""

    def make(engine, rollout=None):
        return DOPDModule(
            make_policy(0),
            make_policy(1),
            tokenizer=tokenizer,
            fusion=DOPD(top_k=8),
            rollout=StudentRollout(max_new_tokens=4, samples_per_prompt=2) if rollout is None else rollout,
            engine=engine,
            optimizer=partial(torch.optim.SGD, lr=0.5),
        )

    return make


@pytest.fixture
def fit(tmp_path):
    """Train on this many batches of two prompts, and validate on one if asked to."""

    def run(module, batches, *, val=False, **options):
        quiet = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
        options = {"accelerator": "cpu", "max_epochs": 1, "default_root_dir": tmp_path} | options
        trainer = Trainer(**dict.fromkeys(quiet, False), **options)
        counts = [batches, 1] if val else [batches]
        trainer.fit(module, *(DataLoader([EXAMPLES] * count, batch_size=None) for count in counts))
        return trainer

    return run


def events(server):
    """Requests, without the short one that follows new weights."""
    names = {"/collective_rpc": "weights", "/v1/completions": "responses"}
    asked = [(names[path], body) for path, body in server.requests if path in names and body is not None]
    return [name for name, body in asked if body.get("prompt") != PROBE]


def test_each_step_rolls_out_with_the_weights_that_the_step_before_left(served, make_module, fit):
    server, engine = served()
    module, behind, complete = make_module(engine), [], server.complete

    def compare_first(body):
        behind.append(any(weights_differ(module.student, server.policy)))
        return complete(body)

    server.complete = compare_first
    trainer = fit(module, 3)
    assert trainer.global_step == 3
    assert events(server) == ["weights", "responses", "responses"] * 3
    assert behind == [False] * 9
    assert any(weights_differ(module.student, server.policy)), "the last step moved it, and nobody has asked since"


def test_validation_after_a_step_is_of_the_weights_after_it(served, make_module, fit):
    server, engine = served()
    module = make_module(engine)
    fit(module, 1, val=True, num_sanity_val_steps=0)
    assert events(server) == ["weights", "responses", "responses"] * 2
    assert not any(weights_differ(module.student, server.policy))


def test_weights_are_sent_once_a_step_and_not_for_each_micro_batch(served, make_module, fit):
    server, engine = served()
    trainer = fit(make_module(engine), 4, accumulate_grad_batches=2)
    assert trainer.global_step == 2
    assert events(server).count("weights") == 2
    assert events(server).count("responses") == 8


def test_a_student_that_never_writes_is_never_sent(served, make_module, fit):
    server, engine = served()
    fit(make_module(engine, DatasetRollout(max_new_tokens=4)), 1)
    fit(make_module(engine, MixedRollout(on_policy=0, max_new_tokens=4)), 1)
    assert events(server) == []
    fit(make_module(engine, MixedRollout(on_policy=1, max_new_tokens=4)), 1)
    assert events(server) == ["weights", "responses", "responses"]


def test_in_a_bare_loop_each_step_sends_the_weights(served, make_module):
    server, engine = served()
    module = make_module(engine)
    for _ in range(2):
        module.training_step(EXAMPLES, 0)["loss"].backward()
    assert events(server) == ["weights", "responses", "responses"] * 2


def test_weights_loaded_into_the_module_are_sent(served, make_module, make_policy, fit):
    server, engine = served()
    module = make_module(engine)
    module.answer(EXAMPLES)
    other = make_module(None)
    other.student.load_state_dict(make_policy(3).state_dict())
    module.load_state_dict(other.state_dict())
    fit(module, 1)
    assert events(server).count("weights") == 2


def test_the_teacher_answers_by_transformers(served, make_module):
    server, engine = served()
    module = make_module(engine)
    with module.answering_as("teacher"):
        answers = module.answer(EXAMPLES)
    assert events(server) == []
    assert len(answers) == 2


def test_a_run_from_the_command_lines_configuration(served, configured):
    server, _ = served()
    config = configured("engine=vllm_server", f"engine.url={server.url}", sets=("train", "val"))
    run_stage(config)
    assert events(server).count("weights") == 3, "before either step, and for the validation at the end"
    assert (Path(config.engine.weights) / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("engine.url=http://127.0.0.1:9", "engine.url: no vLLM server at http://127.0.0.1:9"),
        ("engine.timeout=soon", "engine.timeout: 'soon' is str, and must be float"),
        ("engine.model=other", "engine.model: 'other' is not served"),
    ],
)
def test_the_configuration_key_is_named(served, configured, override, message):
    server, _ = served()
    with pytest.raises(ConfigError, match=message):
        run_stage(configured("engine=vllm_server", f"engine.url={server.url}", override))
