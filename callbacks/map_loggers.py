"""Divergence maps in loggers, as far as each can carry them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger

from dopd_lightning.maps import Snapshot, all_sources, averages, columns, heatmap, render_page, rows, shown_alone
from dopd_lightning.training.watcher import warn_of


class MapLoggers:
    """Means to each logger; to Weights & Biases also page, table and picture, to TensorBoard picture and texts.

    Args:
        loggers: the Trainer's.
        title: of pages.
    """

    def __init__(self, loggers: Sequence[Logger], title: str) -> None:
        self.loggers = loggers
        self.title = title
        self._at_work = list(range(len(loggers)))
        self._tables: dict[int, tuple[Any, list[str]]] = {}  # W&B's that grow, and sources; by the logger's place

    def log(self, snapshots: Sequence[Snapshot]) -> None:
        """Log the last of ``snapshots``, with what it adds to the others."""
        last = snapshots[-1]
        means, picture = averages(last), None
        if any(isinstance(logger, WandbLogger | TensorBoardLogger) for logger in self.loggers):
            picture = heatmap(snapshots)
        for place in list(self._at_work):
            with self._guarded(place) as logger:
                if means:
                    logger.log_metrics(means, last.step)
                if isinstance(logger, WandbLogger):
                    media = self._wandb_media(place, logger, snapshots)
                    if picture is not None:
                        import wandb

                        media["map/heatmap"] = wandb.Image(picture)
                    logger.log_metrics(media, last.step)
                elif isinstance(logger, TensorBoardLogger):
                    _log_texts(logger, last)
                    if picture is not None:
                        logger.experiment.add_image("map/heatmap", picture, last.step, dataformats="HWC")

    @contextmanager
    def _guarded(self, place: int) -> Iterator[Logger]:
        """Log to one logger; where that fails, maps go to the others alone from now on."""
        logger = self.loggers[place]
        try:
            yield logger
        except Exception as error:
            self._at_work.remove(place)
            warn_of(f"the divergence map in {type(logger).__name__}", error)

    def _wandb_media(self, place: int, logger: WandbLogger, snapshots: Sequence[Snapshot]) -> dict[str, Any]:
        import wandb  # takes a second, which runs without it need not wait for

        if place not in self._tables:
            _find_room_for_tables(logger)
            sources = all_sources(snapshots)
            # Mixed types: working out those of each cell would take longer than all the rest of a map.
            table = wandb.Table([*columns(sources)], log_mode="INCREMENTAL", allow_mixed_types=True)
            self._tables[place] = table, sources
        table, sources = self._tables[place]  # columns stay as they were: W&B adds rows alone
        for row in list(rows(snapshots[-1], sources))[: wandb.Table.MAX_ROWS]:  # W&B shows no more of one increment
            table.add_data(*row)
        page = wandb.Html(render_page(snapshots[-1:], title=self.title), inject=False)
        return {"map/tokens": table, "map/page": page}

    def end(self, snapshots: Sequence[Snapshot]) -> None:
        """Log what is worth logging once, when no snapshot will follow: W&B's table, whole and immutable."""
        for place in list(self._at_work):
            with self._guarded(place) as logger:
                if isinstance(logger, WandbLogger):
                    import wandb

                    _find_room_for_tables(logger)
                    sources = all_sources(snapshots)
                    data = [row for snapshot in snapshots for row in rows(snapshot, sources)][-wandb.Table.MAX_ROWS :]
                    table = wandb.Table([*columns(sources)], data, allow_mixed_types=True)
                    logger.log_metrics({"map/all_tokens": table}, snapshots[-1].step)  # type: ignore[dict-item]


def _find_room_for_tables(logger: WandbLogger) -> None:
    """Have W&B put tables together in the run's folder where the user's home, its choice, cannot be written to."""
    from wandb.env import DATA_DIR, get_data_dir

    try:
        os.makedirs(get_data_dir(), exist_ok=True)
        with tempfile.TemporaryFile(dir=get_data_dir()):
            pass
    except OSError:
        os.environ[DATA_DIR] = str(logger.save_dir or ".")


def _log_texts(logger: TensorBoardLogger, last: Snapshot) -> None:
    """The responses to the fixed prompts, quoted as code, so that nothing in them is taken for markup."""
    for response in last.responses:
        if response.fixed:
            text = "".join(shown_alone(last.pieces[int(token)]) for token in response.token_ids)
            quoted = "\n".join(f"    {line}" for line in f"{response.prompt}\n\n{text}".splitlines())
            logger.experiment.add_text(f"map/response_{response.number + 1}", quoted, last.step)
