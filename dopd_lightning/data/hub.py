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
    """One split of a dataset, loaded by ``datasets.load_dataset``. Needs the extra ``hub``.

    Rows stay on disk. The first row is checked when the dataset is loaded, every other row when it is read.

    Args:
        path: dataset on the Hub (``openai/gsm8k``), or format of local files (``json``, ``parquet``).
        split: split of the dataset, such as ``train`` or ``train[:1000]``.
        name: configuration of the dataset, if it has several.
        columns: mapping ``our field -> column``, such as ``{"prompt": "question"}``. Other columns are kept.
        data_files: files to load instead of all files.
        revision: branch, tag or commit on the Hub.

    Raises:
        ConfigError: if ``datasets`` is not installed, or ``columns`` names a field that an example does not have.
        DataError: if the split cannot be loaded or is empty, or a row is not a valid example (with its number).

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder, "sums.jsonl")
        ...     _ = path.write_text('{"question": "1 + 1 = ?", "answer": "2"}')
        ...     print(HubDataset("json", "train", columns={"prompt": "question"}, data_files=str(path))[0])
        {'answer': '2', 'prompt': '1 + 1 = ?'}
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
        """Return the numbers of the rows to use as examples."""
        return range(len(self.rows))

    def _example(self, row: Mapping[str, Any], where: str) -> object:
        """Convert a row to an example, which is checked afterwards."""
        return rename_columns(row, self.columns, where)


def _files_of(data_files: str | Sequence[str] | Mapping[str, str] | None) -> list[str]:
    if isinstance(data_files, str):
        return [data_files]
    return [str(file) for file in (data_files.values() if isinstance(data_files, Mapping) else data_files or ())]
