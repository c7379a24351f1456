"""Folders as runs leave them, written by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf


class Runs:
    """Runs in folders below ``folder``, written by hand."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(
        self,
        name: str,
        *,
        seed: int = 0,
        summary: Mapping[str, Any] | None = None,
        logged: Mapping[str, Sequence[tuple[int, float]]] | None = None,
        **config: Any,
    ) -> Path:
        """Write ``runs/<name>``; ``logged`` has, by metric, steps and values: a row each, as CSVLogger's."""
        folder = self.folder / "runs" / name
        folder.mkdir(parents=True, exist_ok=True)
        own = {"name": name, "stage": "fit", "seed": seed, "paths": {"output_dir": str(folder)}} | config
        (folder / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(own)))
        if summary is not None:
            (folder / "summary.json").write_text(json.dumps(summary))
        if logged is not None:
            lines = [",".join(["epoch", "step", *logged])]
            for metric, points in logged.items():
                empty = [""] * len(logged)
                for step, value in points:
                    cells = empty.copy()
                    cells[[*logged].index(metric)] = str(value)
                    lines.append(",".join(["0", str(step), *cells]))
            (folder / "csv").mkdir()
            (folder / "csv" / "metrics.csv").write_text("\n".join(lines) + "\n")
        return folder


@pytest.fixture
def make_run(tmp_path: Path) -> Runs:
    return Runs(tmp_path)
