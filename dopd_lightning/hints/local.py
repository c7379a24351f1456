"""Hints from a chat model in this process, by transformers' generation."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from dopd_lightning.data import PromptFormat
from dopd_lightning.errors import ConfigError, check_range
from dopd_lightning.hints.writer import Failure, Replies, Reply, Tokens, Write, said
from dopd_lightning.policies import (
    check_loading,
    freeze,
    load_config,
    load_policy,
    load_tokenizer,
    shared_vocabulary_size,
)
from dopd_lightning.rollout import Sampling, generate
from dopd_lightning.rollout.ends import ends_of


@dataclass(kw_only=True)
class LocalWriter:
    """A chat model from a Hugging Face repository or a folder.

    What random numbers it draws is decided by torch's global generator.

    Args:
        name: repository or folder.
        dtype: ``auto`` for the one that it was saved in; see :func:`~dopd_lightning.policies.load_policy`, as for
            ``attn_implementation``, ``trust_remote_code``, ``revision`` and ``quantization``.
        device: such as ``cuda`` or ``cpu``; ``auto`` for a GPU where there is one.
        batch_size: messages at a time.
        max_new_tokens: most tokens of a reply.
        temperature: of the samples; 0 writes the likeliest token each time.
        top_p: sample from the smallest set of tokens with this much probability.
        chat_template_kwargs: passed on to the chat template, such as Qwen3's ``{"enable_thinking": False}``.

    Raises:
        ConfigError: for settings that cannot work.
    """

    name: str
    dtype: str = "auto"
    attn_implementation: str | None = None
    trust_remote_code: bool = False
    revision: str | None = None
    quantization: str | None = None
    device: str = "auto"
    batch_size: int = 8
    max_new_tokens: int = 1024
    temperature: float = 0.7
    top_p: float = 1.0
    chat_template_kwargs: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        check_range("batch_size", self.batch_size, at_least=1)
        check_loading(self.dtype, self.quantization, self.attn_implementation)
        self._sampling = Sampling(max_new_tokens=self.max_new_tokens, temperature=self.temperature, top_p=self.top_p)
        self._format = PromptFormat(chat_template_kwargs=self.chat_template_kwargs)
        if self.device == "auto":
            self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        else:
            try:
                self._device = torch.device(self.device)
            except RuntimeError as error:
                raise ConfigError(f"device: {self.device!r} is none that torch knows; give cuda or cpu") from error
            if self._device.type == "cuda" and not torch.cuda.is_available():
                raise ConfigError(f"device: {self.device!r}, but torch finds no GPU here")

    def settings(self) -> dict[str, Any]:
        """See :class:`~dopd_lightning.hints.Writer`."""
        left_out = ("device", "batch_size", "attn_implementation", "trust_remote_code")
        settings = {name: value for name, value in vars(self).items() if not name.startswith("_")}
        settings["chat_template_kwargs"] = dict(self.chat_template_kwargs or {})
        return {name: value for name, value in settings.items() if name not in left_out}

    @contextmanager
    def open(self) -> Iterator[Write]:
        """See :class:`~dopd_lightning.hints.Writer`; the model is loaded here."""
        tokenizer = load_tokenizer(self.name, trust_remote_code=self.trust_remote_code, revision=self.revision)
        if not tokenizer.chat_template:
            raise ConfigError(f"name: {self.name!r} is no chat model: its tokenizer has no chat template")
        config = load_config(self.name, trust_remote_code=self.trust_remote_code, revision=self.revision)
        room = getattr(config.get_text_config(), "max_position_embeddings", None) or sys.maxsize
        if room <= self.max_new_tokens:
            raise ConfigError(f"max_new_tokens: {self.max_new_tokens} leaves no room for a prompt in {room} positions")
        model = load_policy(
            self.name,
            dtype=self.dtype,
            attn_implementation=self.attn_implementation,
            trust_remote_code=self.trust_remote_code,
            revision=self.revision,
            quantization=self.quantization,
        )
        freeze(model)
        if self.quantization is None:  # a quantized one is where it was loaded
            model.to(self._device)  # type: ignore[arg-type]
        yield lambda messages: self._write(model, tokenizer, room, messages)

    def _write(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, room: int, messages: Iterable[str]
    ) -> Replies:
        numbered = enumerate(messages)
        while batch := list(islice(numbered, self.batch_size)):
            prompts = {
                n: self._format.token_ids(
                    {"prompt": [{"role": "user", "content": message}]}, tokenizer, privileged=False
                )
                for n, message in batch
            }
            too_long = [n for n, ids in prompts.items() if len(ids) + self.max_new_tokens > room]
            for n in too_long:
                length = len(prompts.pop(n))
                yield n, Failure(f"a prompt of {length} tokens and {self.max_new_tokens} more exceed {room} positions")
            yield from self._write_batch(model, tokenizer, prompts)

    def _write_batch(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: Mapping[int, list[int]]
    ) -> Replies:
        if not prompts:
            return
        eos_ids = ends_of(model, tokenizer, self._format)
        written = generate(
            model,
            [*prompts.values()],
            self._sampling,
            eos_ids=eos_ids,
            pad_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else eos_ids[0],
            vocabulary_size=shared_vocabulary_size(tokenizer, {"writer": model.config}),
        )
        for (n, prompt), ids in zip(prompts.items(), written, strict=True):
            tokens = Tokens(len(prompt), len(ids))
            text = said(str(tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)))
            if ids[-1] not in eos_ids:
                yield n, Failure("the reply was cut off by the length limit; raise max_new_tokens", tokens)
            else:
                yield n, Reply(text, tokens) if text else Failure("the reply is empty", tokens)
