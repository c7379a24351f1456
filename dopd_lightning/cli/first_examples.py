"""Try the first examples, before any model loads, for the fields that the run will ask of them."""

from __future__ import annotations

from collections.abc import Iterable

from dopd_lightning.data import DOPDDataModule, Verifier
from dopd_lightning.errors import ConfigError, DataError
from dopd_lightning.rollout import Rollout


def check_scores(names: Iterable[str], verifier: Verifier, data: DOPDDataModule) -> None:
    """Score an empty response to the first example of each set.

    Args:
        names: of the sets whose answers will be scored.
        verifier: will score them.
        data: has the sets.

    Raises:
        DataError, ConfigError: if the verifier cannot score it: naming the set, and what the example lacks.
    """
    for name in names:
        if data.sets[name] is None:
            continue
        try:
            verifier("", data.sets[name][0])
        except DataError as error:
            raise DataError(f"data.{name}: {error}") from error
        except ConfigError:
            raise
        except Exception as error:  # of somebody's own verifier
            raise ConfigError(
                f"module.verifier: it fails on an empty response to the first example of data.{name} "
                f"({type(error).__name__}: {error}); it must return a score from 0 to 1"
            ) from error


def check_completions(rollout: Rollout, data: DOPDDataModule) -> None:
    """Look for the completions that a rollout takes its responses from.

    Raises:
        DataError: naming the first training example without one.
    """
    train = data.sets["train"]
    if rollout.student_writes or rollout.needs_teacher or train is None:
        return
    made_when_asked = getattr(train, "generated", False)  # all alike, and too many to make
    for index in range(1 if made_when_asked else len(train)):
        if train[index].get("completion") is None:
            raise DataError(
                f"data.train: example {index}, counted from 0, has no `completion`, which this rollout takes its "
                "responses from; add one to the data or choose rollout=student"
            )
