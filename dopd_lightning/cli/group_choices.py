"""Choices of config groups on the command line, as far as Hydra has no sentence for them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib import resources

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from dopd_lightning.errors import ConfigError


def check_choices(words: Iterable[str]) -> None:
    """Refuse a config group that is set to something other than names of its files, or values: ``fusion=null``.

    An experiment of the study is refused where its configurations cannot be found, with the place where they are.

    Args:
        words: those of the command line. Those that are no overrides are left to Hydra, and so are sweeps.

    Raises:
        ConfigError: with the names there are.
    """
    parser, words = OverridesParser.create(), list(words)
    _check_study(words)
    for word in words:
        try:
            override = parser.parse_override(word)
        except HydraException:
            continue
        group = resources.files("dopd_lightning.conf").joinpath(*override.key_or_group.split("/"))
        if override.is_delete() or override.is_sweep_override() or not group.is_dir():
            continue
        value = override.value()
        if not isinstance(value, str | list | dict):
            names = sorted(file.name.removesuffix(".yaml") for file in group.iterdir() if file.name.endswith(".yaml"))
            found = "null" if value is None else repr(value)
            raise ConfigError(f"{override.key_or_group}: {found} is not one of {', '.join(names)}")


_SEARCHED = ("--config-dir", "-cd", "--config-path", "-cp", "hydra.searchpath")


def _check_study(words: Sequence[str]) -> None:
    if any(word.startswith(_SEARCHED) for word in words):
        return
    for word in words:
        key, _, value = word.lstrip("+").partition("=")
        if key == "experiment" and value.startswith("study/"):
            name = value.partition(",")[0]
            raise ConfigError(
                f"experiment: {name!r} is an experiment of the study, whose configurations are no part of the package; "
                f"in a checkout of dopd-lightning, add --config-dir study/conf, or run python -m study {name[6:]}"
            )
