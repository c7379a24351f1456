"""Choices of config groups on the command line, as far as Hydra has no sentence for them."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import resources

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from dopd_lightning.errors import ConfigError


def check_choices(words: Iterable[str]) -> None:
    """Refuse a config group that is set to something other than names of its files, or values: ``fusion=null``.

    Args:
        words: of the command line. Those that are no overrides are left to Hydra, and so are sweeps.

    Raises:
        ConfigError: with the names there are.
    """
    parser = OverridesParser.create()
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
