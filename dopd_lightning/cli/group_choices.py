"""Choices of config groups on the command line, as far as Hydra has no sentence for them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib import resources

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override
from hydra.errors import HydraException

from dopd_lightning.errors import ConfigError

_MORE_FILES = ("--config-", "-cd", "-cp", "-cn", "hydra.searchpath")
"""Beginnings of words after which Hydra may find files that are not the package's."""

_OF_THE_STUDY = re.compile(r"(.*/)?study([/_].*)?")
"""Names in ``study/conf/``; the package has none like them."""


def check_choices(words: Iterable[str]) -> None:
    """Refuse a config group that is set to something other than names of its files, or values: ``fusion=null``.

    A choice of the study is refused where its configurations cannot be found, with the place where they are.

    Args:
        words: those of the command line. Those that are no overrides are left to Hydra, and so are sweeps.

    Raises:
        ConfigError: with the names there are.
    """
    parser, words = OverridesParser.create(), list(words)
    only_the_packages = not any(word.lstrip("+").startswith(_MORE_FILES) for word in words)
    for word in words:
        try:
            override = parser.parse_override(word)
        except HydraException:
            continue
        group = resources.files("dopd_lightning.conf").joinpath(*override.key_or_group.split("/"))
        if override.is_delete() or not group.is_dir():
            continue
        if only_the_packages:
            _check_study(override)
        if override.is_sweep_override():
            continue
        value = override.value()
        if not isinstance(value, str | list | dict):
            names = sorted(file.name.removesuffix(".yaml") for file in group.iterdir() if file.name.endswith(".yaml"))
            found = "null" if value is None else repr(value)
            raise ConfigError(f"{override.key_or_group}: {found} is not one of {', '.join(names)}")


def _check_study(override: Override) -> None:
    """Raise ConfigError if one of the chosen names is the study's."""
    value = override.value()
    chosen = value.list if isinstance(value, ChoiceSweep) else value if isinstance(value, list) else [value]
    for name in chosen:
        if isinstance(name, str) and _OF_THE_STUDY.fullmatch(name):
            group = override.key_or_group
            runs_it = f", or run python -m study {name.removeprefix('study/')}" if group == "experiment" else ""
            raise ConfigError(
                f"{group}: {name!r} is a choice of the study, whose configurations are not in the package; "
                f"in a checkout of dopd-lightning, add --config-dir study/conf{runs_it}"
            )
