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
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from dopd_lightning.rollout import json_client

REAL = os.environ.get("DOPD_TEST_VLLM") == "1"
"""Also test against a vLLM that is installed here, which takes a minute."""


class StandIn(ThreadingHTTPServer):
    """Answers as vLLM 0.32 does, from a loop of its own over whole sequences; any part of that can be replaced.

    Attributes:
        policy: what it speaks with; ``reload_weights`` fills it.
        requests: the bodies that came, as ``(path, body)``, in order.
        instead: path -> function of the body, called instead of the server's own answer.
    """

    daemon_threads = True

    def __init__(self, policy, *, dev_mode=True, max_model_len=128, models=("student",)):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.policy, self.dev_mode, self.max_model_len, self.models = policy, dev_mode, max_model_len, models
        self.requests, self.instead, self._prefixes, self._lock = [], {}, {}, threading.Lock()
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
            self._prefixes.clear()
            return 200, {"success": True}
        return 404, {"detail": "Not Found"}

    def reload(self, body):
        assert body["method"] == "reload_weights"
        try:
            weights = load_file(Path(body["kwargs"]["weights_path"]) / "model.safetensors")
            missing, foreign = self.policy.load_state_dict(weights, strict=False)
        except (OSError, RuntimeError) as error:
            return error_of(500, f"Call to collective_rpc method failed: {error}")
        tied = {"lm_head.weight"} if self.policy.config.tie_word_embeddings else set()
        if foreign or set(missing) - tied:
            return error_of(500, f"Call to collective_rpc method failed: {missing} {foreign}")
        self.policy.tie_weights()
        return 200, {"results": [None]}

    def complete(self, body):
        if body["model"] not in self.models:
            return error_of(404, f"The model `{body['model']}` does not exist.")
        if body["temperature"] > 2:
            return error_of(400, f"temperature must be in [0, 2], got {body['temperature']}.")
        with self._lock:
            written = [self.write(body, number) for number in range(body["n"])]
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

    @torch.no_grad()
    def write(self, body, number):
        generator = torch.Generator()
        if body.get("seed") is not None:
            generator.manual_seed(body["seed"] + number)
        ids, logps = [], []
        while len(ids) < body["max_tokens"]:
            logits = self.logits([*body["prompt"], *ids])
            raw = logits.log_softmax(-1)
            for token, bias in (body.get("logit_bias") or {}).items():
                logits[int(token)] += bias
            ids.append(self.draw(logits, body, generator))
            logps.append(raw[ids[-1]].item())
            if ids[-1] in body["stop_token_ids"] or (not body["ignore_eos"] and ids[-1] == 2):
                return ids, logps, "stop"
        return ids, logps, "length"

    def logits(self, ids):
        """Kept for the prefix, as vLLM keeps keys and values, whatever weights come later."""
        if tuple(ids) not in self._prefixes:
            self._prefixes[tuple(ids)] = self.policy(input_ids=torch.tensor([ids])).logits[0, -1]
        return self._prefixes[tuple(ids)].clone()

    def draw(self, logits, body, generator):
        if body["temperature"] == 0:
            return int(logits.argmax())
        logits = logits / body["temperature"]
        if body["top_k"] > 0:
            logits[logits < logits.topk(body["top_k"]).values[-1]] = -torch.inf
        probabilities, order = logits.softmax(-1).sort(descending=True)
        probabilities[probabilities.cumsum(-1) - probabilities >= body["top_p"]] = 0
        return int(order[torch.multinomial(probabilities, 1, generator=generator)])


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


@pytest.fixture
def stand_in():
    """Start servers; they end with the test."""
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
