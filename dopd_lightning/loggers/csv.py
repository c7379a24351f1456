"""CSV logger with one ``metrics.csv`` for a run and its resumptions."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger as LightningCSVLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from lightning.pytorch.utilities import rank_zero_warn

from dopd_lightning.io.files import says_what_fails, written_whole
from dopd_lightning.loggers.continued import ContinuedLogger

Row = Mapping[str, Any]

_WHAT = "the metrics file"


class CSVLogger(ContinuedLogger, LightningCSVLogger):  # type: ignore[misc]
    """Lightning's CSVLogger, which continues an existing ``metrics.csv`` instead of deleting it.

    Its arguments are Lightning's.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     for loss, step in ((3.0, 0), (2.0, 1)):  # two attempts of a run
        ...         logger = CSVLogger(folder, name="", version="")
        ...         logger.log_metrics({"loss": loss}, step)
        ...         logger.save()
        ...     print(Path(folder, "metrics.csv").read_text().split())
        ['loss,step', '3.0,0', '2.0,1']
    """

    @property
    @rank_zero_experiment
    def experiment(self) -> ExperimentWriter:
        """Writer of ``metrics.csv``."""
        if self._experiment is None:
            self._fs.makedirs(self.root_dir, exist_ok=True)
            self._experiment = _Writer(self.log_dir)
        writer: ExperimentWriter = self._experiment  # type: ignore[assignment]
        return writer

    def state(self, step: int) -> dict[str, Any]:
        """Write the rows that are in memory, and return the path of the file."""
        self.save()
        return {"kind": type(self).__name__, "file": str(self._file.absolute())}

    def go_on(self, state: Mapping[str, Any] | None, step: int) -> None:
        """Copy the rows of steps before ``step`` from the earlier file, which may be in another folder."""
        earlier = self._file if state is None else Path(state["file"])
        source = earlier if earlier.is_file() else self._file
        if source.is_file():
            columns, rows = _read(source)
            _write(self._file, columns, [row for row in rows if int(row["step"]) < step])
        elif step:
            rank_zero_warn(f"{self._file} begins at step {step}: {earlier}, with the steps before, does not exist")

    @property
    def _file(self) -> Path:
        return Path(self.log_dir) / _Writer.NAME_METRICS_FILE


class _Writer(ExperimentWriter):
    """Writer that appends to an existing file. A new column rewrites the file atomically: a kill cannot empty it."""

    def __init__(self, log_dir: str) -> None:
        super().__init__(log_dir)
        path = Path(self.metrics_file_path)
        if path.is_file():
            self.metrics_keys, rows = _read(path)
            _write(path, self.metrics_keys, rows)  # drops a partial last line, which a killed attempt may leave

    def save(self) -> None:
        """Append the rows that are in memory to the file."""
        with says_what_fails(self.metrics_file_path, _WHAT):
            super().save()

    def _check_log_dir_exists(self) -> None:
        """Do nothing: Lightning's method deletes an existing file."""

    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        _, rows = _read(Path(self.metrics_file_path))
        _write(Path(self.metrics_file_path), fieldnames, rows)


def _read(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Return the columns and the complete rows; a killed process may have left a partial line at the end."""
    text = path.read_text(encoding="utf-8", errors="replace")
    reader = csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1], newline=""))
    rows = [row for row in reader if (row.get("step") or "").lstrip("-").isdecimal()]
    return list(reader.fieldnames or ()), rows


def _write(path: Path, columns: Sequence[str], rows: Sequence[Row]) -> None:
    with written_whole(path, _WHAT) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=columns)
        writer.writeheader()
        writer.writerows(rows)
