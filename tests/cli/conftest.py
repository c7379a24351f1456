"""Runs in a folder of their own."""

from __future__ import annotations

import pytest

from tests.cli.runs import arguments_in


@pytest.fixture
def arguments(models, tmp_path, monkeypatch) -> list[str]:
    """See :func:`~tests.cli.runs.arguments_in`."""
    monkeypatch.chdir(tmp_path)
    return arguments_in(tmp_path, models)
