"""The stage that compares runs which others have made; it needs no models, data or Trainer."""

from __future__ import annotations

from importlib.util import find_spec

from omegaconf import DictConfig, ListConfig
from rich.console import Console

from dopd_lightning.cli.own_folder import own_folder
from dopd_lightning.compare import Comparison, print_tables
from dopd_lightning.errors import ConfigError, missing_extra


def compare(config: DictConfig) -> None:
    """Put the runs that ``config.runs`` leads to side by side, on the console and in the run's folder.

    Raises:
        ConfigError: if there is nothing to compare, or nothing to draw it with.
    """
    patterns = [*config.runs] if isinstance(config.runs, ListConfig) else [config.runs]
    if not patterns or not all(isinstance(pattern, str) and pattern for pattern in patterns):
        found = [*config.runs] if isinstance(config.runs, ListConfig) else config.runs
        raise ConfigError(
            f"runs: {found!r} is not a folder of runs, and stage=compare needs one, a glob or a list of them, such as "
            "runs='runs/dopd/multirun_*'"
        )
    if find_spec("altair") is None or find_spec("vl_convert") is None:
        raise missing_extra("stage: compare draws with altair and vl-convert", "compare")
    from dopd_lightning.compare.report import write_report  # of the extra

    with own_folder(config) as folder:
        comparison = Comparison.of(patterns)
        write_report(comparison, folder)
        console = Console()
        print_tables(comparison, console)
        console.print(f"{folder / 'compare.html'}, compare.md, compare.csv, figures/", markup=False, highlight=False)
