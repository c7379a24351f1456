"""Try examples, before any model loads, for the fields that the run will ask of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from dopd_lightning.data import DOPDDataModule, Example, Verifier
from dopd_lightning.errors import ConfigError, DataError
from dopd_lightning.rollout import Rollout
from dopd_lightning.sources import Source


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
    if rollout.student_writes or "teacher" in rollout.writers or train is None:
        return
    for index, example in _examples(data):
        if example.get("completion") is None:
            raise DataError(
                f"data.train: example {index}, counted from 0, has no `completion`, which this rollout takes its "
                "responses from; add one to the data or choose rollout=student"
            )


def check_domains(sources: Mapping[str, Source], data: DOPDDataModule) -> None:
    """Have each source look at the training examples that it will be asked to score.

    Raises:
        DataError: naming the source, and the first example that it could not score.
    """
    if data.sets["train"] is None:
        return
    for key, source in sources.items():
        if type(source).check is Source.check:
            continue
        for index, example in _examples(data):
            try:
                source.check([example])
            except DataError as error:
                raise DataError(f"data.train: example {index}, counted from 0, for {key}: {error}") from error


def _examples(data: DOPDDataModule) -> Iterator[tuple[int, Example]]:
    """The training examples with their numbers; of those that are made when asked for, all alike, the first."""
    train = data.sets["train"]
    for index in range(1 if getattr(train, "generated", False) else len(train)):
        yield index, train[index]
