"""Files and folders that are not what a run needs: data, models, prompts of a writer, runs."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from dopd_lightning.policies import new_policy, new_tokenizer

_FINE = b'{"prompt": "Add 1 2.", "privileged": "3", "answer": 3, "completion": "3"}\n'

# The second line of a file whose first is fine.
_SECOND_LINES: Mapping[str, Any] = {
    "latin1": '{"prompt": "caf\xe9"}'.encode("latin-1"),
    "not_json": b"{not json",
    "torn": b'{"prompt": "Add',
    "two_objects": b'{"prompt": "a"} {"prompt": "b"}',
    "deep": b"[" * 100_000,
    "list": [1],
    "number": 7,
    "null": None,
    "no_prompt": {"question": "?"},
    "prompt_number": {"prompt": 7},
    "prompt_empty": {"prompt": ""},
    "prompt_space": {"prompt": "  \n"},
    "prompt_no_messages": {"prompt": []},
    "message_text": {"prompt": ["hi"]},
    "message_null": {"prompt": [{"role": "user", "content": None}]},
    "message_parts": {"prompt": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]},
    "message_no_role": {"prompt": [{"content": "hi"}]},
    "privileged_number": {"prompt": "a", "privileged": 7},
    "completion_list": {"prompt": "a", "completion": ["b"]},
    "answer_list": {"prompt": "a", "answer": [1]},
    "answer_true": {"prompt": "a", "answer": True},
    "surrogate": {"prompt": "a \ud800 b"},
    "lost_completion": {"prompt": "Add 1 2.", "privileged": "3"},
}
_WHOLE: Mapping[str, bytes] = {
    "empty": b"",
    "blank": b"\n \n",
    "binary": bytes(range(128, 256)) * 4,
    "utf16": "{}\n".encode("utf-16"),
    "no_completion": b'{"prompt": "Add 1 2.", "privileged": "3", "answer": 3}\n' * 4,
    "no_answer": b'{"prompt": "Add 1 2.", "privileged": "3", "completion": "3"}\n' * 4,
    "unanswered": b'{"prompt": "Add 1 2."}\n' * 4,
    "text_answer": b'{"prompt": "Add 1 2.", "privileged": "3", "answer": "six"}\n' * 4,
    "chat": b'{"prompt": [{"role": "user", "content": "Add 1 2."}], "privileged": "3"}\n' * 4,
    "system_only": b'{"prompt": [{"role": "system", "content": "Add 1 2."}], "privileged": "3"}\n' * 4,
    "twelve_megabytes": json.dumps({"prompt": "1 " * 6_000_000}).encode() + b"\n" + _FINE,
}
_TEMPLATES = {"no_question": "Write a hint.", "broken": "{{ question", "unknown": "{{ question }} {{ anser }}"}


def make_odd_files(folder: Path, architecture: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase) -> None:
    """Fill a folder with them."""
    for name, second in _SECOND_LINES.items():
        line = second if isinstance(second, bytes) else json.dumps(second).encode()
        (folder / f"{name}.jsonl").write_bytes(_FINE + line + b"\n")
    for name, content in _WHOLE.items():
        (folder / f"{name}.jsonl").write_bytes(content)
    for name, template in _TEMPLATES.items():
        (folder / f"{name}.jinja").write_text(template)
    os.mkfifo(folder / "fifo.jsonl")
    _runs(folder)
    _models(folder, architecture, tokenizer)


def _runs(folder: Path) -> None:
    for name, content in {
        "bad_run": b"{stage: fit",
        "binary_run": _WHOLE["binary"],
        "list_run": b"[1]\n",
        "untrained": b"stage: test\nseed: 0\n",
    }.items():
        (folder / name).mkdir()
        (folder / name / "config.yaml").write_bytes(content)


def _models(folder: Path, architecture: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase) -> None:
    policy = new_policy(architecture, tokenizer)
    names = ("no_config", "bad_json", "list_json", "empty_config", "unknown_type", "no_tokenizer", "no_eos")
    names += ("bad_tokenizer", "empty_weights", "torn_weights", "no_weights", "pickled_weights", "no_template", "short")
    names += ("lost_shard", "bad_index", "t5", "bert_encoder", "small_vocabulary")
    for name in names:
        policy.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    (folder / "empty").mkdir()
    (folder / "no_config" / "config.json").unlink()
    for name, config in {
        "bad_json": "{",
        "list_json": "[1]",
        "empty_config": "{}",
        "unknown_type": '{"model_type": "qwen99"}',
        "t5": '{"model_type": "t5", "architectures": ["T5ForConditionalGeneration"]}',
        "bert_encoder": '{"model_type": "vit", "architectures": ["ViTModel"]}',
    }.items():
        (folder / name / "config.json").write_text(config)
    for name, fields in {"short": {"max_position_embeddings": 4}, "small_vocabulary": {"vocab_size": 100}}.items():
        path = folder / name / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    for path in (folder / "no_tokenizer").glob("tokenizer*"):
        path.unlink()
    (folder / "no_tokenizer" / "chat_template.jinja").unlink()
    (folder / "no_template" / "chat_template.jinja").unlink()
    path = folder / "no_eos" / "tokenizer_config.json"
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "eos_token"}))
    (folder / "bad_tokenizer" / "tokenizer.json").write_text("{")
    weights = "model.safetensors"
    (folder / "empty_weights" / weights).write_bytes(b"")
    whole = (folder / "torn_weights" / weights).read_bytes()
    (folder / "torn_weights" / weights).write_bytes(whole[: len(whole) // 2])
    (folder / "no_weights" / weights).unlink()
    (folder / "pickled_weights" / weights).rename(folder / "pickled_weights" / "pytorch_model.bin")
    (folder / "lost_shard" / weights).rename(folder / "lost_shard" / "model-00001-of-00002.safetensors")
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "lost_shard" / f"{weights}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": shards}))
    (folder / "bad_index" / weights).unlink()
    (folder / "bad_index" / f"{weights}.index.json").write_text("{")
    foreign = new_tokenizer(["quite other words, quite other merges"], vocabulary_size=280)
    new_policy({**architecture, "vocab_size": len(foreign)}, foreign).save_pretrained(folder / "foreign")
    foreign.save_pretrained(folder / "foreign")
