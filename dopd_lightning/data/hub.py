"""Examples from a dataset on the Hugging Face Hub, or from any files that ``datasets`` can load."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch.utils.data import Dataset

from dopd_lightning.data.example import Example, check_columns, check_example, rename_columns
from dopd_lightning.data.fields import log_fields
from dopd_lightning.data.files import check_regular
from dopd_lightning.errors import DataError, missing_extra


class HubDataset(Dataset[Example]):
    """One split of a dataset, through ``datasets.load_dataset``. Needs the extra ``hub``.

    Rows stay on disk: the first is checked when the dataset is opened, each of the others when it is read.

    Args:
        path: a dataset on the Hub (``openai/gsm8k``), or a format of local files (``json``, ``parquet``).
        split: such as ``train`` or ``train[:1000]``.
        name: the dataset's configuration, where it has several.
        columns: renaming ``our field -> their column``, such as ``{"prompt": "question"}``. Other columns are kept.
        data_files: files to load, instead of all.
        revision: branch, tag or commit on the Hub.

    Raises:
        ConfigError: if ``datasets`` is not installed, or ``columns`` names a field that an example does not have.
        DataError: if the split cannot be loaded or is empty, or a row is not a valid example (with its number).
    """

    def __init__(
        self,
        path: str,
        split: str,
        name: str | None = None,
        columns: Mapping[str, str] | None = None,
        data_files: str | Sequence[str] | Mapping[str, str] | None = None,
        revision: str | None = None,
    ) -> None:
        try:
            import datasets
        except ImportError as error:
            raise missing_extra("data: sets from the Hub need datasets", "hub") from error
        self.columns = check_columns(columns)
        for file in _files_of(data_files):
            check_regular(file)
        self.where = f"{path}{f' ({name})' if name else ''}, split {split!r}"
        try:
            self.rows = datasets.load_dataset(path, name, split=split, data_files=data_files, revision=revision)
        except (datasets.exceptions.DatasetsError, ValueError, OSError) as error:
            raise DataError(f"{self.where}: cannot be loaded ({error})") from error
        self.kept = self._kept_rows()
        log_fields(f"{self.where}, {len(self)} examples", self[0])

    def __len__(self) -> int:
        return len(self.kept)

    def __getitem__(self, index: int) -> Example:
        number = self.kept[index]
        where = f"{self.where}, row {number}"
        return check_example(self._example(self.rows[number], where), where)

    def _kept_rows(self) -> Sequence[int]:
        """Numbers of the rows that are examples."""
        return range(len(self.rows))

    def _example(self, row: Mapping[str, Any], where: str) -> object:
        """Rename a row's columns to the fields of an example; the result is checked afterwards."""
        return rename_columns(row, self.columns, where)


def _files_of(data_files: str | Sequence[str] | Mapping[str, str] | None) -> list[str]:
    if isinstance(data_files, str):
        return [data_files]
    return [str(file) for file in (data_files.values() if isinstance(data_files, Mapping) else data_files or ())]
