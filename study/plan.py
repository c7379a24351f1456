"""Jobs of the study: the sweeps of ``study/conf/experiment/study/``, as the commands that Hydra makes of them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra import compose, initialize_config_module
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from dopd_lightning.cli.resolvers import register_resolvers

CONF = Path(__file__).parent / "conf"
"""The study's own configurations, for ``--config-dir``; they are not in the package."""

MODELS = ("teacher", "teacher_small", "student", "student_small")
SWEEPS = (
    "models",
    "search",
    "search_validation",
    "table1",
    "figure4",
    "table8",
    "routing",
    "routing_pool",
    "table4",
    "student_steps",
    "models_steps",
    "search_steps",
    "search_steps_validation",
    "table1_steps",
    "table6",
    "lower_rate",
    "lower_rate_regimes",
    "figure3",
    "figure3_lower_rate",
    "table3",
    "figure10",
    "table7",
    "models_tasks",
    "sequence_2",
    "sequence_3",
    "transfer",
    "sequence_1_lower_rate",
    "sequence_2_lower_rate",
    "sequence_3_lower_rate",
    "transfer_lower_rate",
    "choices_support",
    "choices_outliers",
    "choices_normalize",
    "choices_reduction",
    "choices_reference",
)
"""Sweeps in the order in which they run, important ones first; ``student_steps`` is a model, made after the teacher."""

DONE = "done.json"
"""File in the folder of a job that has finished, with its duration in seconds."""


@dataclass(frozen=True)
class Job:
    """One command of the study.

    Attributes:
        experiment: the file in ``study/conf/experiment/study/``.
        overrides: of the command line, beside the experiment.
        folder: the run's own.
        goes_on: whether the run resumes from its checkpoints; others begin anew.
    """

    experiment: str
    overrides: tuple[str, ...]
    folder: Path
    goes_on: bool

    @property
    def done(self) -> bool:
        """True if the job has finished."""
        return (self.folder / DONE).exists()

    @property
    def arguments(self) -> list[str]:
        """Arguments of ``python -m dopd_lightning``."""
        own = f"hydra.run.dir={_quoted(str(self.folder))}"
        config = ("--config-dir", str(CONF))
        return [*config, f"+experiment=study/{self.experiment}", *self.overrides, "hydra.mode=RUN", own]

    def clear(self) -> None:
        """Remove the files of an interrupted attempt, unless the next attempt resumes from them."""
        if self.folder.exists() and not self.goes_on:
            shutil.rmtree(self.folder)


def jobs_of(experiment: str, settings: Sequence[str] = ()) -> list[Job]:
    """Return all jobs of an experiment, in the order and in the folders that a Hydra multirun of it would have.

    Args:
        experiment: a file in ``study/conf/experiment/study/``.
        settings: overrides for all of its jobs, which are not in the names of their folders.
    """
    config = composed(experiment, settings)
    params = OmegaConf.to_container(config.hydra.sweeper.params) if config.hydra.sweeper.params else {}
    goes_on = config.ckpt_path == "auto"
    if not params:
        return [Job(experiment, tuple(settings), Path(config.paths.runs) / config.name, goes_on)]
    folder = Path(config.hydra.sweep.dir)
    return [Job(experiment, (*settings, *each), folder / ",".join(sorted(each)), goes_on) for each in _product(params)]


def _product(params: dict[str, str]) -> Iterator[list[str]]:
    overrides = OverridesParser.create().parse_overrides([f"{key}={value}" for key, value in params.items()])
    (batch,) = BasicSweeper.split_arguments(overrides, None)
    yield from batch


def composed(experiment: str, settings: Sequence[str] = ()) -> DictConfig:
    """Compose the configuration of an experiment, with Hydra's own in ``hydra``."""
    register_resolvers()
    words = [f"hydra.searchpath=[{_quoted(f'file://{CONF}')}]", f"+experiment=study/{experiment}", *settings]
    with initialize_config_module("dopd_lightning.conf", version_base="1.3"):
        return compose("config", words, return_hydra_config=True)


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "\\'") + "'"
