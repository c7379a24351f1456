"""Differences between the configurations of runs, without the seed and keys that change no result."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dopd_lightning.io.flat import flat

OF_NO_CONSEQUENCE = ("name", "stage", "ckpt_path", "runs", "objective", "evaluate", "paths", "logger", "privilege")
"""Keys for place, name and logging of a run; none of them changes what is learned."""

_ONLY_SHOW = {
    "callbacks": ("divergence_map", "live_console", "speed"),
    "trainer": ("enable_progress_bar", "enable_model_summary", "log_every_n_steps"),
}
_TARGET = "._target_"
# What a method consists of: where its name differs, these parts do too.
_METHOD, _OF_A_METHOD = "method", ("fusion.", "reference.", "rollout.", "privileged.")
_LONGEST = 60
ABSENT = "—"
"""Shown for a key that a configuration does not have."""


@dataclass(frozen=True)
class Difference:
    """A setting that is not the same in all runs.

    Attributes:
        name: the last parts of its key, as many as tell it from the others; a node's for the object that it makes.
        values: for each run, printable, on one line and short; equal where the values are.
        implied: whether another difference decides it: which object a node makes decides the defaults that it has.
    """

    name: str
    values: Sequence[str]
    implied: bool


def differences_of(configs: Sequence[Mapping[str, Any]]) -> list[Difference]:
    """Return the keys in which ``configs`` differ; runs that differ in none are equal but for the seed.

    Left out are names, places and loggers, paths inside a run's own folder, paths that differ by ``seed=3`` or
    ``method=opd`` where those are the run's own, whatever has the value of ``seed`` in every run, and what has one
    value in all runs that have it, because of the object that a node around it makes: where ``fusion._target_``
    differs, ``fusion.beta_weak`` counts only if it differs among those with such a weight. Where ``method`` differs, so
    do the parts that it consists of: they count only if they differ among runs of one method.
    """
    settings = [{key: _canonical(value) for key, value in flat(_without_own(config))} for config in configs]
    keys = list(dict.fromkeys(key for each in settings for key in each))
    values = {key: [each.get(key) for each in settings] for key in keys}
    seeds = [_canonical(config["seed"]) for config in configs]
    differ = [key for key in keys if len({*values[key]}) > 1 and not _follows(values[key], seeds)]
    if _METHOD in differ:
        differ = [
            key for key in differ if not (key.startswith(_OF_A_METHOD) and _decides(values[_METHOD], values[key]))
        ]
    implied = {key: _implied(key, values, differ) for key in differ}
    kept = [key for key in differ if not (implied[key] and len({*values[key]} - {None}) == 1)]
    nodes = {key: key.removesuffix(_TARGET) for key in kept}
    names = _short_names([key if nodes[key] in kept and nodes[key] != key else nodes[key] for key in kept])
    return [Difference(name, _short_values(values[key]), implied[key]) for key, name in zip(kept, names, strict=True)]


def _without_own(config: Mapping[str, Any]) -> Any:
    """Return the settings that count, without paths that are the run's own: below its folder, or named after it."""
    folder = str((config.get("paths") or {}).get("output_dir") or "")
    own = {f"{key}={config[key]}": f"{key}=<{key}>" for key in ("seed", _METHOD) if config.get(key) is not None}
    named_after = re.compile(rf"(?<![\w.])({'|'.join(map(re.escape, own))})(?!\w)")

    def without(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {str(name): without(part) for name, part in value.items()}
        if isinstance(value, list):
            return [without(part) for part in value]
        if not isinstance(value, str):
            return value
        return named_after.sub(lambda match: own[match[0]], value.replace(folder, "<run>") if folder else value)

    counts = {key: value for key, value in config.items() if key not in (*OF_NO_CONSEQUENCE, "seed")}
    for group, left_out in _ONLY_SHOW.items():
        if isinstance(counts.get(group), Mapping):
            counts[group] = {name: value for name, value in counts[group].items() if name not in left_out}
    return without(counts)


def _canonical(value: Any) -> str:
    """One text for one value: 1 and 1.0 are one, "1" is another."""
    whole = isinstance(value, float) and value.is_integer()
    return json.dumps(int(value) if whole else value, sort_keys=True, default=str, ensure_ascii=False)


def _follows(values: Sequence[str | None], seeds: Sequence[str]) -> bool:
    return all(value in (seed, None) for value, seed in zip(values, seeds, strict=True))


def _implied(key: str, values: Mapping[str, Sequence[str | None]], differ: Sequence[str]) -> bool:
    """Return whether a node around the key, or the key as a node, decides its value by the object that it makes."""
    parts = key.split(".")
    targets = [".".join(parts[:end]) + _TARGET for end in range(1, len(parts) + 1)]
    return any(_decides(values[target], values[key]) for target in targets if target in differ and target != key)


def _decides(these: Sequence[str | None], those: Sequence[str | None]) -> bool:
    """Return whether equal values in the first list imply equal values in the second."""
    return len({*zip(these, those, strict=True)}) == len({*these})


def _short_names(keys: Sequence[str]) -> list[str]:
    """The last parts of each key, as many as make it another than the others'."""
    names = []
    for key in keys:
        parts = key.split(".")
        ends = [".".join(parts[-count:]) for count in range(1, len(parts) + 1)]
        names.append(next((end for end in ends if sum(f".{other}".endswith(f".{end}") for other in keys) == 1), key))
    return names


def _short_values(values: Sequence[str | None]) -> list[str]:
    """Each as short as it can be without looking like another that it is not."""
    for short in (_shortest, _printable):
        shown = [short(value) for value in values]
        if len({*shown}) == len({*values}):
            return shown
    return [ABSENT if value is None else json.dumps(json.loads(value)) for value in values]


def _shortest(value: str | None) -> str:
    text = _printable(value)
    text = text.rpartition(".")[2] if text.startswith("dopd_lightning.") else text
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]}…{text[-_LONGEST // 2 + 1 :]}"


def _printable(value: str | None) -> str:
    if value is None:
        return ABSENT
    text = json.loads(value)
    if isinstance(text, str):
        return text if text.isprintable() and text else json.dumps(text)
    return value if value.isprintable() else json.dumps(text)
