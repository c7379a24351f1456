"""References by kind, as in earlier versions."""

from __future__ import annotations

from transformers import PreTrainedModel

from dopd_lightning.errors import ConfigError, check_choice, check_range
from dopd_lightning.sources.ema import Ema
from dopd_lightning.sources.named import KINDS
from dopd_lightning.sources.policy import Policy
from dopd_lightning.sources.source import Source

REFERENCE_KINDS = ("student", "snapshot", "ema", "model")


def reference_of_kind(kind: str = "student", model: PreTrainedModel | None = None, decay: float = 0.99) -> Source:
    """Make a source by the name of its kind: `Student`, `Snapshot`, `Ema`, or a `Policy` of a model.

    Args:
        kind: ``student``, ``snapshot``, ``ema`` or ``model``.
        model: the policy, for kind ``model`` only.
        decay: decay of an ``ema``, from 0 to 1.

    Raises:
        ConfigError: for an unknown kind, a missing model, a model given to another kind, or a decay outside [0, 1].

    Example:
        >>> reference_of_kind("ema", decay=0.9).decay
        0.9
    """
    check_choice("reference.kind", kind, REFERENCE_KINDS)
    check_range("reference.decay", decay, at_least=0, at_most=1)
    if (model is not None) != (kind == "model"):
        found = "a model was given" if model is not None else "no model was given"
        raise ConfigError(f"reference.kind={kind}: {found}; kind 'model' needs a model, and the other kinds take none")
    if model is not None:
        return Policy(model)
    return Ema(decay) if kind == "ema" else KINDS[kind]()
