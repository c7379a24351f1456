"""Sources by their names in a run."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from torch import nn
from transformers import PreTrainedModel

from dopd_lightning.errors import ConfigError
from dopd_lightning.policies import load_policy
from dopd_lightning.sources.adapter_base import Base
from dopd_lightning.sources.ema import Ema
from dopd_lightning.sources.policy import Policy
from dopd_lightning.sources.snapshot import Snapshot
from dopd_lightning.sources.source import ScoringSource, Source
from dopd_lightning.sources.student import Student

AnySource = Source | PreTrainedModel | str | os.PathLike[str]
"""A source, a model that is to be one, where such a model is found, or the name of a kind."""

KINDS: Mapping[str, Callable[[], Source]] = {"student": Student, "snapshot": Snapshot, "ema": Ema, "base": Base}
"""Sources that are made of the student, by the names of their kinds."""

_TAKEN = ("student", "data", "teacher", "reference")


def as_source(given: AnySource) -> Source:
    """The source itself, or one of the kind that is named, or of the model that is given or named.

    Example:
        >>> type(as_source("ema")).__name__
        'Ema'
    """
    if isinstance(given, Source):
        return given
    if isinstance(given, str) and given in KINDS:
        return KINDS[given]()
    return Policy(load_policy(given) if isinstance(given, str | os.PathLike) else given)


def sources_of(named: Mapping[str, AnySource]) -> dict[str, Source]:
    """Make sources by name.

    Raises:
        ConfigError: naming the source that cannot be made, or two that are one object.

    Example:
        >>> {name: type(source).__name__ for name, source in sources_of({"start": "snapshot", "slow": "ema"}).items()}
        {'start': 'Snapshot', 'slow': 'Ema'}
    """
    found: dict[str, Source] = {}
    for name, given in named.items():
        try:
            made = as_source(given)
        except ConfigError as error:
            raise ConfigError(f"{name}: {error}") from error
        for other, source in found.items():
            if made is source:
                raise ConfigError(f"{name}: it is the same source object as the {other}; make one for each")
        found[name] = made
    return found


def named_sources(
    teacher: AnySource | None, reference: AnySource, others: Mapping[str, AnySource]
) -> dict[str, AnySource]:
    """All sources by name, those of the everyday names first.

    Raises:
        ConfigError: for a name that is there twice, or that a source cannot have.

    Example:
        >>> [*named_sources("snapshot", "student", {"slow": "ema"})]
        ['teacher', 'reference', 'slow']
    """
    if not isinstance(others, Mapping):
        raise ConfigError(f"sources: {others!r} must be sources by name, such as {{'maths': …}}")
    for name in others:
        check_source_name(name)
    for name, given in (("teacher", teacher), ("reference", reference)):
        if isinstance(given, Source) and given.shown is not None:
            raise ConfigError(f"{name}.shown: {given.shown} is set by privileged.{name}; leave it out here")
    return {**({} if teacher is None else {"teacher": teacher}), "reference": reference, **others}


def given_policies(sources: Mapping[str, Source]) -> dict[str, PreTrainedModel]:
    """Return the models that scoring sources were given, by the source's name; of several, with a number appended.

    Example:
        >>> given_policies(sources_of({"slow": "ema"}))  # made of the student, without a model of its own
        {}
    """
    found = {}
    for name, source in sources.items():
        if not isinstance(source, ScoringSource):  # its models may have another vocabulary
            continue
        for number, model in enumerate(source.given):
            found[name if len(source.given) == 1 else f"{name}.{number}"] = model
    return found


def policies_of(sources: Mapping[str, Source], student: PreTrainedModel) -> dict[str, PreTrainedModel]:
    """The policies that sources score with, by the source's name and their own.

    Example:
        >>> from importlib.resources import files
        >>> student = load_policy(files("dopd_lightning.assets") / "quickstart_student")
        >>> policies_of({"reference": Student()}, student)["reference"] is student
        True
    """
    return {
        f"{name}.{inner}".rstrip("."): policy
        for name, source in sources.items()
        if isinstance(source, ScoringSource)
        for inner, policy in source.policies(student).items()
    }


def load_source(
    name: str | os.PathLike[str],
    *,
    dtype: str = "float32",
    attn_implementation: str | None = None,
    trust_remote_code: bool = False,
    revision: str | None = None,
    quantization: str | None = None,
    shown: float | None = None,
) -> Policy:
    """Load a frozen causal language model as a source.

    Args:
        name, dtype, attn_implementation, trust_remote_code, revision, quantization: see
            :func:`~dopd_lightning.policies.load_policy`.
        shown: probability, for each example, that it sees privileged text; always if not given.

    Example:
        >>> from importlib.resources import files
        >>> load_source(files("dopd_lightning.assets") / "quickstart_teacher", shown=0.5).shown
        0.5
    """
    model = load_policy(
        name,
        dtype=dtype,
        attn_implementation=attn_implementation,
        trust_remote_code=trust_remote_code,
        revision=revision,
        quantization=quantization,
    )
    return Policy(model, shown)


def check_source_name(name: str) -> None:
    """Refuse a name that a source cannot have.

    Raises:
        ConfigError: if it is taken (``teacher`` and ``reference`` are arguments of their own), or no word.
    """
    if name in _TAKEN or not str(name).isidentifier() or hasattr(nn.ModuleDict(), name):
        raise ConfigError(
            f"sources.{name}: a source of `sources` cannot have this name; choose a word of letters, digits and _, but "
            f"none of {', '.join(_TAKEN)}"
        )
