"""A server on loopback that speaks vLLM's protocol, with a policy behind it; and, if asked for, a real vLLM."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM

from dopd_lightning.rollout import json_client


class Voice:
    """Writes what vLLM 0.32 would, by a loop of its own over whole sequences."""

    def __init__(self, policy):
        self.policy, self._prefixes = policy, {}

    def load(self, weights):
        """Take new weights, all or none; what was computed with the old ones stays until it is forgotten."""
        missing, foreign = self.policy.load_state_dict(weights, strict=False)
        tied = {"lm_head.weight"} if self.policy.config.tie_word_embeddings else set()
        if foreign or set(missing) - tied:
            raise RuntimeError(f"missing {missing}, foreign {foreign}")
        self.policy.tie_weights()

    def forget(self):
        self._prefixes.clear()

    @torch.no_grad()
    def write(self, prompt, fields, number):
        """Token ids, log-probabilities and the reason for the end of the response with this number."""
        generator = torch.Generator()
        if fields.get("seed") is not None:
            generator.manual_seed(fields["seed"] + number)
        ids, logps = [], []
        while len(ids) < fields["max_tokens"]:
            logits = self._logits([*prompt, *ids])
            raw = logits.log_softmax(-1)
            for token, bias in (fields.get("logit_bias") or {}).items():
                logits[int(token)] += bias
            ids.append(self._draw(logits, fields, generator))
            logps.append(raw[ids[-1]].item())
            if ids[-1] in fields["stop_token_ids"] or (not fields["ignore_eos"] and ids[-1] == 2):
                return ids, logps, "stop"
        return ids, logps, "length"

    def _logits(self, ids):
        """Kept for the prefix, as vLLM keeps keys and values, whatever weights come later."""
        if tuple(ids) not in self._prefixes:
            self._prefixes[tuple(ids)] = self.policy(input_ids=torch.tensor([ids])).logits[0, -1].float()
        return self._prefixes[tuple(ids)].clone()

    def _draw(self, logits, fields, generator):
        if fields["temperature"] == 0:
            return int(logits.argmax())
        logits = logits / fields["temperature"]
        if fields["top_k"] > 0:
            logits[logits < logits.topk(fields["top_k"]).values[-1]] = -torch.inf
        probabilities, order = logits.softmax(-1).sort(descending=True)
        probabilities[probabilities.cumsum(-1) - probabilities >= fields["top_p"]] = 0
        return int(order[torch.multinomial(probabilities, 1, generator=generator)])


class StandIn(ThreadingHTTPServer):
    """Answers as a vLLM 0.32 server does; any part of that can be replaced.

    Attributes:
        policy: what it speaks with; ``reload_weights`` fills it.
        requests: what came, as ``(path, body)``, in order.
        instead: path -> function of the body, called instead of the server's own answer.
    """

    daemon_threads = True

    def __init__(self, policy, *, dev_mode=True, max_model_len=128, models=("student",)):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.policy, self.dev_mode, self.max_model_len, self.models = policy, dev_mode, max_model_len, models
        self.requests, self.instead, self._voice, self._lock = [], {}, Voice(policy), threading.Lock()
        self.url = f"http://127.0.0.1:{self.server_port}"

    def answer(self, method, path, body):
        """Status and JSON."""
        self.requests.append((path, body))
        if path in self.instead:
            return self.instead[path](body)
        if path == "/v1/models":
            entries = [{"id": name, "object": "model", "max_model_len": self.max_model_len} for name in self.models]
            return 200, {"object": "list", "data": entries}
        if path == "/v1/completions":
            return self.complete(body)
        if self.dev_mode and path == "/collective_rpc":
            return self.reload(body) if method == "POST" else (405, {"detail": "Method Not Allowed"})
        if self.dev_mode and path == "/reset_prefix_cache":
            self._voice.forget()
            return 200, {"success": True}
        return 404, {"detail": "Not Found"}

    def reload(self, body):
        assert body["method"] == "reload_weights"
        try:
            self._voice.load(load_file(Path(body["kwargs"]["weights_path"]) / "model.safetensors"))
        except (OSError, RuntimeError) as error:
            return error_of(500, f"Call to collective_rpc method failed: {error}")
        return 200, {"results": [None]}

    def complete(self, body):
        if body["model"] not in self.models:
            return error_of(404, f"The model `{body['model']}` does not exist.")
        if body["temperature"] > 2:
            return error_of(400, f"temperature must be in [0, 2], got {body['temperature']}.")
        with self._lock:
            written = [self._voice.write(body["prompt"], body, number) for number in range(body["n"])]
        scored = body.get("logprobs") is not None
        choices = [
            {
                "index": number,
                "text": "",
                "logprobs": {"token_logprobs": logps} if scored else None,
                "finish_reason": reason,
                "token_ids": ids if body.get("return_token_ids") else None,
            }
            for number, (ids, logps, reason) in enumerate(written)
        ]
        return 200, {"object": "text_completion", "model": body["model"], "choices": choices}


class StandInLLM:
    """Part of ``vllm.LLM`` that is used."""

    def __init__(self, *, model, load_format, skip_tokenizer_init, max_model_len, dtype, **options):
        assert (load_format, skip_tokenizer_init, options["logprobs_mode"]) == ("dummy", True, "raw_logprobs")
        torch.manual_seed(0)  # as vLLM does to the whole process
        config = AutoConfig.from_pretrained(model)
        assert config.architectures, "or vLLM takes it for a model that writes nothing"
        self.policy = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype)).eval()
        self._voice = Voice(self.policy)

    def collective_rpc(self, method, kwargs):
        assert method == "reload_weights"
        self._voice.load(dict(kwargs["weights_iterator"]))

    def reset_prefix_cache(self):
        self._voice.forget()

    def generate(self, prompts, params, use_tqdm):
        assert not use_tqdm
        return [self._answer(prompt, fields) for prompt, fields in zip(prompts, params, strict=True)]

    def _answer(self, prompt, fields):
        outputs = []
        for number in range(fields["n"]):
            ids, logps, _ = self._voice.write(prompt["prompt_token_ids"], fields, number)
            steps = [{token: SimpleNamespace(logprob=logp)} for token, logp in zip(ids, logps, strict=True)]
            outputs.append(SimpleNamespace(index=number, token_ids=tuple(ids), logprobs=steps))
        return SimpleNamespace(outputs=outputs)


@pytest.fixture
def stand_in_module(monkeypatch):
    """``import vllm`` brings the stand-in."""
    module = ModuleType("vllm")
    module.__spec__ = ModuleSpec("vllm", None)
    module.LLM = StandInLLM
    module.SamplingParams = SimpleNamespace(from_optional=lambda *, detokenize, **fields: fields)
    monkeypatch.setitem(sys.modules, "vllm", module)


def error_of(code, message):
    return code, {"error": {"message": message, "type": "Error", "param": None, "code": code}}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self._reply("GET", None)

    def do_POST(self):
        text = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._reply("POST", json.loads(text) if text else None)

    def _reply(self, method, body):
        status, content = self.server.answer(method, self.path, body)
        content = content if isinstance(content, bytes) else json.dumps(content).encode()
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
        except OSError:  # the client had enough
            self.close_connection = True

    def log_message(self, *args):
        pass


@pytest.fixture(autouse=True)
def no_patience(monkeypatch):
    monkeypatch.setattr(json_client, "_WAITS", (0.01, 0.01))


@pytest.fixture(scope="module")
def stand_in():
    """Start servers; they end with the module's tests."""
    started = []

    def start(policy, **options):
        server = StandIn(policy, **options)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        started.append(server)
        return server

    yield start
    for server in started:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="session")
def vllm_server(make_served_policy, tokenizer, tmp_path_factory):
    """The address of a real one, with an untrained policy."""
    folder = tmp_path_factory.mktemp("vllm")
    make_served_policy(7).save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = "--served-model-name student --dtype float32 --max-model-len 128 --enforce-eager"
    command += f" --host 127.0.0.1 --port {port}"
    environment = os.environ | {"VLLM_SERVER_DEV_MODE": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1"}
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "vllm.entrypoints.cli.main", "serve", folder / "model", *command.split()],
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 240
        while not _healthy(url):
            assert server.poll() is None, re.sub(r"\x1b\[[0-9;]*m", "", (folder / "log").read_text())[-3000:]
            assert time.monotonic() < deadline, (folder / "log").read_text()[-3000:]
            time.sleep(1)
        yield url
    finally:
        server.terminate()
        server.wait(60)


def _healthy(url):
    try:
        return urllib.request.urlopen(f"{url}/health", timeout=5).status == 200
    except OSError:
        return False


@pytest.fixture(scope="session")
def make_served_policy(make_policy, tokenizer):
    """Dimensions that vLLM's kernels take, a padded vocabulary, and embeddings of their own for input and output.

    vLLM 0.32 on CPUs does not renew a tied head.
    """

    def make(seed=0, **fields):
        shape = {"hidden_size": 64, "head_dim": 32, "tie_word_embeddings": False, "vocab_size": len(tokenizer) + 40}
        return make_policy(seed, **shape | fields)

    return make
