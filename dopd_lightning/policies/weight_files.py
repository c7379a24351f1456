"""Checks that weight files are complete and belong to the model.

Transformers initializes weights that a file lacks with random numbers, which would go unnoticed in training.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_warn
from safetensors import SafetensorError, safe_open
from transformers import PreTrainedModel
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME
from transformers.utils.hub import cached_file

from dopd_lightning.errors import ConfigError

_SHOWN = 3
_REPORT = logging.getLogger("transformers.modeling_utils")


def check_weight_files(folder: Path) -> None:
    """Check the weight files of a folder by their headers, which is fast.

    Raises:
        ConfigError: if there is no safetensors file, or one is missing or truncated; naming the file.
    """
    files = _files(folder)
    if not files:
        others = sorted(path.name for pattern in ("*.bin", "*.pt", "*.pth", "*.gguf") for path in folder.glob(pattern))
        found = f"; its weights are in {others[0]}, which transformers can save again as safetensors" if others else ""
        raise ConfigError(f"model {os.fspath(folder)!r} has no safetensors weights ({SAFE_WEIGHTS_NAME}){found}")
    for path in files:
        _names(path)


def check_loaded(policy: PreTrainedModel, name: str, revision: str, info: Mapping[str, Any]) -> None:
    """Raise ConfigError if files lack weights of the model; warn of weights that only the files have.

    Args:
        policy: loaded model.
        name: repository or folder.
        revision: revision of the repository.
        info: report of transformers on loading (``output_loading_info``).

    Raises:
        ConfigError: naming weights that are missing in the files, have another shape there, or are not finite.
    """
    other_shape = {key: (tuple(there), tuple(here)) for key, there, here in info["mismatched_keys"]}
    if other_shape:
        key = min(other_shape)
        there, here = other_shape[key]
        raise ConfigError(
            f"model {name!r}: {len(other_shape)} weights have another shape in its files than in its config.json "
            f"({key}: {there} in the files, {here} by the config); use the config.json that belongs to the files"
        )
    missing, unexpected = set(info["missing_keys"]), set(info["unexpected_keys"])
    if missing:
        besides = f" The files have weights that the model lacks: {_listed(unexpected)}." if unexpected else ""
        raise ConfigError(
            f"model {name!r}: weights of {type(policy).__name__} are not in its files, and would be random numbers: "
            f"{_listed(missing)}.{besides} Use the files of a complete causal language model"
        )
    floats = (torch.float32, torch.bfloat16, torch.float16)
    numbers = {key: weight.detach() for key, weight in policy.named_parameters() if weight.dtype in floats}
    extremes = {key: torch.stack(torch.aminmax(weight)) for key, weight in numbers.items() if weight.numel()}
    broken = [key for key, found in extremes.items() if not found.isfinite().all()]
    if broken:
        raise ConfigError(
            f"model {name!r}: some of its weights are not finite numbers: {_listed(broken)}. Use an earlier checkpoint"
        )
    left_out = unexpected | _ignored(policy, name, revision)
    if left_out:
        rank_zero_warn(
            f"model {name!r}: {type(policy).__name__} lacks some weights of its files: {_listed(left_out)}. "
            "They are not loaded, and would be missing in an exported student"
        )


@contextmanager
def without_loading_report() -> Iterator[None]:
    """Hide transformers' table of missing and unexpected weights inside the block: `check_loaded` reports them."""

    def keep(record: logging.LogRecord) -> bool:
        return "LOAD REPORT" not in record.getMessage()

    _REPORT.addFilter(keep)
    try:
        yield
    finally:
        _REPORT.removeFilter(keep)


def _files(folder: Path) -> list[Path]:
    """Return the safetensors files that transformers would read."""
    single, index = folder / SAFE_WEIGHTS_NAME, folder / SAFE_WEIGHTS_INDEX_NAME
    if single.is_file() or not index.is_file():
        return [single] if single.is_file() else []
    try:
        return [
            folder / name for name in sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{os.fspath(index)!r} is not an index of safetensors files ({error})") from error


def _names(path: Path) -> Collection[str]:
    """Return the names of the weights in a file; raise ConfigError if it is missing or truncated."""
    try:
        with safe_open(path, "pt") as file:
            names: list[str] = file.keys()
            return names
    except (OSError, SafetensorError) as error:
        size = f"{path.stat().st_size} bytes" if path.is_file() else "missing"
        raise ConfigError(
            f"weights {os.fspath(path)!r} cannot be read ({size}; {error}): copy or download the file again"
        ) from error


def _ignored(policy: PreTrainedModel, name: str, revision: str) -> set[str]:
    """Return names of weights that transformers silently ignores for this architecture, such as a vision tower.

    Names in a module that the policy has are not returned: they are buffers that older releases saved.
    """
    patterns = policy._keys_to_ignore_on_load_unexpected
    if not patterns:
        return set()
    ignored = re.compile("|".join(f"({pattern})" for pattern in patterns))
    modules = {module for module, _ in policy.named_modules()}
    modules |= {module.removeprefix(f"{policy.base_model_prefix}.") for module in modules}
    folder = _folder(name, revision)
    found = set() if folder is None else {key for path in _files(folder) for key in _names(path)}
    return {
        key
        for key in found
        if ignored.search(key) and not key.endswith("inv_freq") and key.rpartition(".")[0] not in modules
    }


def _folder(name: str, revision: str) -> Path | None:
    """Return the folder of the files: the given one, or the one of the repository in the cache."""
    if Path(name).is_dir():
        return Path(name)
    for file in (SAFE_WEIGHTS_NAME, SAFE_WEIGHTS_INDEX_NAME):
        path = cached_file(
            name,
            file,
            revision=revision,
            local_files_only=True,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
        if path is not None:
            return Path(path).parent
    return None


def _listed(keys: Iterable[str]) -> str:
    """Return names of weights as text, with one pattern for equal weights of several layers."""
    alike: dict[str, list[str]] = {}
    for key in sorted(keys):
        alike.setdefault(re.sub(r"(?<=\.)\d+(?=\.)", "*", key), []).append(key)
    shown = [f"{pattern} ({len(of)})" if len(of) > 1 else of[0] for pattern, of in list(alike.items())[:_SHOWN]]
    rest = sum(len(of) for of in list(alike.values())[_SHOWN:])
    return ", ".join(shown) + (f" and {rest} more" if rest else "")
