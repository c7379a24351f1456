"""Maps of how far the sources of supervision are apart, token by token, as training goes on."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_warn

from dopd_lightning.callbacks.map_loggers import MapLoggers
from dopd_lightning.data import Example, examples_of
from dopd_lightning.distributed.processes import first_process
from dopd_lightning.distributed.random_state import random_state, set_random_state
from dopd_lightning.errors import DataError, check_range
from dopd_lightning.fusion import Thresholds
from dopd_lightning.io.files import write_whole
from dopd_lightning.maps import Snapshot, ids_of, render_page, responses_of, sources_of, token_pieces
from dopd_lightning.training.module import DOPDModule
from dopd_lightning.training.watcher import Watcher

PAGE = "divergence_map.html"
"""The page's name, in the callback's folder; the snapshots are in a folder named like it, without the ending."""


class DivergenceMap(Watcher):
    """Every so many steps, maps a few fixed prompts and a few of the step's own rollouts: one record a token.

    A map goes to one HTML page in ``folder``, to a NumPy archive a step beside it, and to each logger as far as that
    can carry it: Weights & Biases gets the page, a table, a picture of tokens × steps, and means; TensorBoard the
    picture, texts and means; the others the means.

    The fixed prompts are the first of the validation set, or of the first batch where there is none. The student
    answers them anew each time, with the same random numbers, which are no others': a run with maps trains as one
    without. They are routed by the thresholds of the training step before; at the first, by means over themselves.

    Args:
        folder: where to; the Trainer's ``default_root_dir`` if not given.
        every_n_steps: optimizer steps between two maps. There is one before the first step, and one after the last.
        prompts: fixed prompts.
        fresh: rollouts of the step, the first of each of the batch's first prompts.
        alternatives: how many of each policy's likeliest tokens are kept.
        title: the page's.
        page_limit: bytes; a page that would become larger gives up detail, and says so.

    Raises:
        ConfigError: for a number out of range.
    """

    collective = frozenset({"on_train_batch_start", "on_train_end"})

    def __init__(
        self,
        folder: str | os.PathLike[str] | None = None,
        every_n_steps: int = 50,
        prompts: int = 4,
        fresh: int = 4,
        alternatives: int = 3,
        title: str = "Divergence map",
        page_limit: int = 20_000_000,
    ) -> None:
        self.folder = None if folder is None else Path(folder)
        self.every_n_steps = int(check_range("every_n_steps", every_n_steps, at_least=1))
        self.prompts = int(check_range("prompts", prompts, at_least=0))
        self.fresh = int(check_range("fresh", fresh, at_least=0))
        self.alternatives = int(check_range("alternatives", alternatives, at_least=1))
        self.page_limit = int(check_range("page_limit", page_limit, at_least=1))
        self.title = title
        self._snapshots: list[Snapshot] = []
        self._examples: list[Example] | None = None
        self._observed: tuple[int, list[Any]] | None = None  # of the step under way
        self._thresholds: Thresholds | None = None
        self._earlier: dict[str, Any] | None = None

    @property
    def snapshots(self) -> Sequence[Snapshot]:
        """The maps so far, in the first process."""
        return self._snapshots

    # ------------------------------------------------------------------------------------------------ when to look

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, DOPDModule), "DivergenceMap maps the tokens of a DOPDModule"
        self.folder = self.folder if self.folder is not None else Path(trainer.default_root_dir)
        self._snapshots, self._observed = [], None
        self._loggers = MapLoggers(trainer.loggers, self.title)
        if trainer.is_global_zero:
            (self.folder / Path(PAGE).stem).mkdir(parents=True, exist_ok=True)
            self._take_over(trainer.global_step)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        begun = self._observed is not None and self._observed[0] == step  # by an earlier batch of the same step
        if step % self.every_n_steps or begun:
            return
        assert isinstance(pl_module, DOPDModule)
        chosen: list[Example] = []
        if self._examples is None and not self.off:
            with self.guarded():
                chosen = self._choose(trainer, pl_module, batch)
        if not self.goes_on(pl_module.device):
            return
        if self._examples is None:
            self._examples = first_process(chosen)
        self._observed = step, self._observe(trainer, pl_module)
        if self.fresh:
            pl_module.detail_next(self.alternatives, self.fresh)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._thresholds = outputs["record"].thresholds
        if self._observed is None:
            return
        step, responses = self._observed
        known = bool(self._snapshots) and self._snapshots[-1].step == step
        if trainer.is_global_zero and not known:
            details = outputs["record"].details
            fresh = [] if details is None else responses_of(outputs["record"], fixed=False)
            self._add(trainer, pl_module, step, [*responses, *fresh])

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, DOPDModule)
        mapped = self._observed is not None and self._observed[0] == trainer.global_step
        if self._examples is None or not self.goes_on(pl_module.device):
            return
        responses = [] if mapped else self._observe(trainer, pl_module)
        with self.guarded():
            if trainer.is_global_zero:
                self._add(trainer, pl_module, trainer.global_step, responses)
            if self._snapshots:
                self._loggers.end(self._snapshots)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._earlier is None:
            return
        # Nothing was left to train, and so it never started: the maps are those of the attempt before.
        self.folder = self.folder if self.folder is not None else Path(trainer.default_root_dir)
        if trainer.is_global_zero:
            (self.folder / Path(PAGE).stem).mkdir(parents=True, exist_ok=True)
            self._take_over(trainer.global_step + 1)
            if self._snapshots:
                self._write_page()

    # --------------------------------------------------------------------------------------------------- looking

    def _choose(self, trainer: L.Trainer, module: DOPDModule, batch: Any) -> list[Example]:
        """Choose the fixed prompts: the first of the validation set, else of this batch."""
        loaders = trainer.val_dataloaders
        loader = loaders[0] if isinstance(loaders, list) and loaders else loaders
        chosen: list[Example] = []
        if loader is not None and self.prompts:
            with _randomness_of_its_own(trainer.strategy.root_device):
                for examples in map(examples_of, loader):
                    chosen += examples
                    if len(chosen) >= self.prompts:
                        break
        try:
            module.check_examples(chosen)
        except DataError:  # a validation set may lack what sources need, and is not trained on
            chosen = []
        return (chosen or examples_of(batch))[: self.prompts]

    def _observe(self, trainer: L.Trainer, module: DOPDModule) -> list[Any]:
        if not self._examples:
            return []
        with _randomness_of_its_own(module.device), trainer.precision_plugin.forward_context():
            record = module.observe(self._examples, self.alternatives, self._thresholds)
        return responses_of(record, fixed=True)

    # --------------------------------------------------------------------------------------------------- keeping

    def _add(self, trainer: L.Trainer, module: L.LightningModule, step: int, responses: list[Any]) -> None:
        if not responses:
            return
        assert self.folder is not None
        tokenizer = module.tokenizer
        pieces = token_pieces(tokenizer, ids_of(responses))  # type: ignore[arg-type]
        snapshot = Snapshot(step, responses, pieces, sources_of(responses))
        self._snapshots.append(snapshot)
        snapshot.save(_path(self.folder, step))
        self._write_page()
        self._loggers.log(self._snapshots)

    def _write_page(self) -> None:
        assert self.folder is not None
        page = render_page(self._snapshots, title=self.title, limit=self.page_limit)
        write_whole(self.folder / PAGE, page, "the divergence map")

    def state_dict(self) -> dict[str, Any]:
        folder = None if self.folder is None else str(self.folder.absolute())
        steps = [snapshot.step for snapshot in self._snapshots]
        thresholds = None if self._thresholds is None else asdict(self._thresholds)
        return {"folder": folder, "steps": steps, "examples": self._examples, "thresholds": thresholds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._earlier = state_dict
        self._examples = state_dict["examples"]
        thresholds = state_dict["thresholds"]
        self._thresholds = None if thresholds is None else Thresholds(**thresholds)

    def _take_over(self, step: int) -> None:
        """The maps of the run that this one goes on from, up to the step that it goes on at."""
        earlier, self._earlier = self._earlier, None
        if earlier is None or earlier["folder"] is None:
            return
        assert self.folder is not None
        missing = []
        for old in (each for each in earlier["steps"] if each < step):
            source, target = _path(Path(earlier["folder"]), old), _path(self.folder, old)
            if source.is_file():
                if not target.is_file():
                    shutil.copyfile(source, target)
                self._snapshots.append(Snapshot.load(target))
            else:
                missing.append(str(source))
        if missing:
            rank_zero_warn(f"the divergence map leaves out {len(missing)} earlier steps: there is no {missing[0]}")


def _path(folder: Path, step: int) -> Path:
    return folder / Path(PAGE).stem / f"step={step}.npz"


@contextmanager
def _randomness_of_its_own(device: torch.device) -> Iterator[None]:
    """Fix the random state inside the block, and restore the one from before at its end."""
    state = random_state(device)
    try:
        torch.manual_seed(0)
        yield
    finally:
        set_random_state(state, device)
