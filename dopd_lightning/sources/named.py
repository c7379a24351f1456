"""Sources by name, as a run has them."""

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
"""A source, a model, the path or Hub name of a model, or a kind (see `KINDS`)."""

KINDS: Mapping[str, Callable[[], Source]] = {"student": Student, "snapshot": Snapshot, "ema": Ema, "base": Base}
"""Sources that are made from the student, by kind."""

_RESERVED = ("student", "data", "teacher", "reference")


def as_source(given: AnySource) -> Source:
    """Return the given source, or make one from a kind, a model, or the path or Hub name of a model.

    Raises:
        ConfigError: if the model cannot be loaded.

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
    """Make a source for each name.

    Raises:
        ConfigError: naming a source that cannot be made, or two names with the same source object.

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
                raise ConfigError(f"{name}: this is the same source object as {other!r}; make one object for each name")
        found[name] = made
    return found


def named_sources(
    teacher: AnySource | None, reference: AnySource, others: Mapping[str, AnySource]
) -> dict[str, AnySource]:
    """Return all sources by name: the teacher, the reference, then the others.

    Raises:
        ConfigError: for a name that a source cannot have, or a setting that belongs elsewhere.

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
    """Return the models that scoring sources were given, by the source's name (``name.0``, … if it has several).

    Example:
        >>> given_policies({"maths": Policy(nn.Linear(2, 1)), "slow": Ema()})  # an average is made from the student
        {'maths': Linear(in_features=2, out_features=1, bias=True)}
    """
    found = {}
    for name, source in sources.items():
        if not isinstance(source, ScoringSource):  # its models may have another vocabulary
            continue
        for number, model in enumerate(source.given):
            found[name if len(source.given) == 1 else f"{name}.{number}"] = model
    return found


def policies_of(sources: Mapping[str, Source], student: PreTrainedModel) -> dict[str, PreTrainedModel]:
    """Return the policies that sources score with, by the source's name (``name.member`` if it has several).

    Example:
        >>> from dopd_lightning.sources import Ensemble
        >>> maths = Ensemble({"large": Policy(nn.Linear(9, 1)), "small": Policy(nn.Linear(3, 1))})
        >>> student = nn.Linear(2, 1)
        >>> policies = policies_of({"reference": Student(), "maths": maths}, student)
        >>> {name: policy.in_features for name, policy in policies.items()}
        {'reference': 2, 'maths.large': 9, 'maths.small': 3}
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
        shown: probability, for each example, that the source sees privileged text; 1 if not given.

    Raises:
        ConfigError: if the model cannot be loaded, or for a probability outside [0, 1].

    Example:
        >>> from importlib.resources import files
        >>> source = load_source(files("dopd_lightning.assets") / "quickstart_teacher", shown=0.5)
        >>> source.shown, f"{source.weights.num_parameters():,} parameters"
        (0.5, '639,680 parameters')
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
        ConfigError: if the name is reserved, or is not an identifier.
    """
    if name in _RESERVED or not str(name).isidentifier() or hasattr(nn.ModuleDict(), name):
        raise ConfigError(
            f"sources.{name}: a source of `sources` cannot have this name; use letters, digits and _, and none of the "
            f"reserved names {', '.join(_RESERVED)}"
        )
