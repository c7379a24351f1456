"""Responses from a vLLM server: other devices, other processes, weights by way of a folder that both see."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import torch.distributed
from safetensors.torch import save_file
from transformers import PreTrainedModel

from dopd_lightning.distributed.processes import number_of_processes, process_number
from dopd_lightning.errors import ConfigError, EngineError, WriteError, check_range
from dopd_lightning.io.files import written_whole
from dopd_lightning.rollout.agreement import check_agreement
from dopd_lightning.rollout.engine import Sampling, Written
from dopd_lightning.rollout.engine_weights import checkpoint_weights
from dopd_lightning.rollout.json_client import check_httpx, json_client
from dopd_lightning.rollout.vllm_request import check_written, requests_of

_START = "start it as docs/rollouts.md says"
_BODY, _BYTES_A_TOKEN = 2**20, 1024
"""Room in an answer: its frame; and a token with its text, id and log-probabilities, many times over."""


class _Served(NamedTuple):
    model: str
    positions: int | None


@dataclass(kw_only=True)
class VLLMServerEngine:
    """A vLLM server with the student's model, in development mode so that it takes new weights.

    New weights are written into a folder as safetensors, and the server is told to read them
    (``/collective_rpc reload_weights``) and to forget what it computed with the old ones (``/reset_prefix_cache``).
    That needs no process group between trainer and server, suits any sharding on either side, and leaves the server
    usable when the trainer dies. Under several processes the first one writes, and all wait until it has.

    Args:
        url: of the server. If it wants a key, that is taken from the environment (``VLLM_API_KEY``).
        weights: folder for the weights, under the same path for the server.
        model: name that the student is served under; ``None`` where the server has one model only.
        timeout: seconds for one answer of the server: a prompt's responses, or reading the weights.

    Raises:
        ConfigError: for settings that cannot work; on asking for ``positions``, for a server that cannot.
    """

    url: str = "http://127.0.0.1:8000"
    weights: str | os.PathLike[str]
    model: str | None = None
    timeout: float = 600.0
    _client: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        check_range("timeout", self.timeout, above=0)
        if not _is_address(self.url):
            raise ConfigError(
                f"url: {self.url!r} must begin with http:// or https:// and have a host, such as http://127.0.0.1:8000"
            )
        check_httpx()
        self._client = partial(json_client, self.url.rstrip("/").removesuffix("/v1"), self.timeout)

    @property
    def positions(self) -> int | None:
        """The server's ``max_model_len``."""
        return self._served.positions

    @cached_property
    def _served(self) -> _Served:
        """Model and limits that the server reports; asked once."""
        with self._client() as ask:
            try:
                models = ask("GET", "/v1/models")
                takes_weights = ask.status("/collective_rpc") != 404  # the path is for POST: 405 says that it is there
            except EngineError as error:
                raise ConfigError(f"url: no vLLM server at {self.url} ({error}); {_START}") from error
        try:
            lengths = {
                str(entry["id"]): None if entry["max_model_len"] is None else int(entry["max_model_len"])
                for entry in models["data"]
            }
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"url: what answers at {self.url} is not a vLLM server: {str(models)[:80]}") from error
        name = self.model if self.model is not None or len(lengths) != 1 else next(iter(lengths))
        if name is None or name not in lengths:
            raise ConfigError(f"model: {name!r} is not served at {self.url}, but {', '.join(lengths)}")
        if not takes_weights:
            raise ConfigError(
                f"url: the server at {self.url} takes no new weights (it has no /collective_rpc): it runs without "
                f"VLLM_SERVER_DEV_MODE=1; {_START}"
            )
        return _Served(name, lengths[name])

    def synchronise(self, policy: PreTrainedModel) -> None:
        """See :class:`~dopd_lightning.rollout.Engine`."""
        weights = checkpoint_weights(policy, "cpu")
        failure: list[Exception | None] = [None]
        if process_number() == 0:
            try:
                folder = Path(self.weights).resolve()
                # Whoever reads the old file keeps it, and never sees half of the new one.
                with written_whole(folder / "model.safetensors", "the weights for engine.url") as part:
                    save_file({name: weight.contiguous() for name, weight in weights.items()}, part)
                self._read(folder)
            except (ConfigError, EngineError, WriteError) as error:
                failure = [error]
        if number_of_processes() > 1:  # the others wait here, and fail where the first did
            torch.distributed.broadcast_object_list(failure)
        if failure[0] is not None:
            raise failure[0]
        check_agreement(self, policy)

    def _read(self, folder: Path) -> None:
        with self._client() as ask:
            try:
                ask("POST", "/collective_rpc", {"method": "reload_weights", "kwargs": {"weights_path": str(folder)}})
            except EngineError as error:
                raise EngineError(
                    f"{error}\nThe server was to read the student's weights from {folder}: it must see that folder "
                    "(engine.weights) under the same path, and serve a model of the student's architecture"
                ) from error
            answer = ask("POST", "/reset_prefix_cache")
        if not isinstance(answer, dict) or not answer.get("success"):
            raise EngineError(
                f"engine: {self.url} keeps its prefix cache ({answer}), which is of the old weights; does somebody "
                "else use this server?"
            )

    def generate(
        self,
        policy: PreTrainedModel,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        *,
        eos_ids: Sequence[int],
        pad_id: int,
        vocabulary_size: int,
        samples_per_prompt: int = 1,
        logps: bool = False,
    ) -> Written:
        """See :class:`~dopd_lightning.rollout.Engine`. All prompts are asked for at once, one request each."""
        fields = requests_of(
            policy,
            len(prompts),
            sampling,
            eos_ids=eos_ids,
            vocabulary_size=vocabulary_size,
            samples_per_prompt=samples_per_prompt,
            logps=logps,
        )
        more = {"model": self._served.model, "return_token_ids": True}
        requests = [each | more | {"prompt": list(prompt)} for each, prompt in zip(fields, prompts, strict=True)]
        room = _BODY + samples_per_prompt * sampling.max_new_tokens * _BYTES_A_TOKEN
        with self._client() as ask:
            sent = ask.all("POST", "/v1/completions", requests, largest=room)
        answers = [_responses(answer, request) for answer, request in zip(sent, requests, strict=True)]
        ids = [response for answer in answers for response, _ in answer]
        written = Written(ids, [scores for answer in answers for _, scores in answer] if logps else None)
        check_written(written, sampling, eos_ids=eos_ids, vocabulary_size=vocabulary_size)
        return written


def _responses(answer: Any, request: dict[str, Any]) -> list[tuple[list[int], list[float]]]:
    """Token ids and, where asked for, log-probabilities of each response to one prompt, as the server has answered."""
    try:
        choices = sorted(answer["choices"], key=lambda choice: int(choice["index"]))
        scored = request["logprobs"] is not None
        found = [
            (
                [int(token) for token in choice["token_ids"]],
                [float(logp) for logp in choice["logprobs"]["token_logprobs"]] if scored else [],
            )
            for choice in choices
        ]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise EngineError(
            f"engine: a completion is not as vLLM's: {type(error).__name__} {error} in {str(answer)[:200]}. The "
            "server's vLLM must know `return_token_ids`"
        ) from error
    if len(found) != request["n"]:
        raise EngineError(f"engine: {len(found)} responses to a prompt for which {request['n']} were asked")
    return found


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number
        return False
