"""Corrections of Lightning's progress within epochs, where it would resume wrongly."""

from __future__ import annotations

from typing import Any

import lightning as L
from lightning.fabric.utilities.data import _set_sampler_epoch


def mend_progress(checkpoint: dict[str, Any]) -> None:
    """Correct Lightning's counters of epochs and batches in place, so that a resumed run equals an uninterrupted one.

    Lightning (2.6) resumes correctly within an epoch. From a checkpoint at an epoch's end, with a stateful loader, it
    reads that epoch again or counts it twice, depending on the hook that saved the checkpoint and on ``max_steps`` or
    ``max_epochs``. An epoch in which ``max_steps`` ended the run counts as finished.
    """
    loop = checkpoint.get("loops", {}).get("fit_loop", {})
    if not loop.get("state_dict", {}).get("combined_loader"):
        return
    begun, batches = loop["epoch_progress"]["current"]["ready"], loop["epoch_loop.batch_progress"]
    if not batches["is_last_batch"]:
        for span in ("current", "total"):
            loop["epoch_progress"][span] |= {
                "ready": begun,
                "started": begun,
                "processed": begun - 1,
                "completed": begun - 1,
            }
        return
    # The state at the beginning of an epoch.
    for span in ("current", "total"):
        loop["epoch_progress"][span] = dict.fromkeys(loop["epoch_progress"][span], begun)
        loop["epoch_loop.val_loop.batch_progress"][span] = dict.fromkeys(batches[span], 0)
    batches["current"] = dict.fromkeys(batches["current"], 0)
    batches["total"] = dict.fromkeys(batches["total"], batches["total"]["ready"])
    batches["is_last_batch"] = False
    loop["epoch_loop.state_dict"]["_batches_that_stepped"] = checkpoint["global_step"]


def go_on_in_data(trainer: L.Trainer) -> None:
    """Move the training data to the checkpoint's position, at the start of training.

    Lightning (2.6) does so when it sets up the dataloader, but only if it has loaded the checkpoint's progress by then.
    A scheduler that depends on the number of steps sets it up earlier, and the epoch would be read from its beginning.
    Lightning also sets the sampler's epoch only after workers have begun to read.
    """
    loop = trainer.fit_loop
    if not loop.is_resuming or loop._combined_loader is None or loop._data_fetcher is None:
        return
    if loop.restarting:
        if not loop._combined_loader_states_to_load:
            return  # loaded already
        loop._load_combined_loader_states()
    else:
        for loader in loop._combined_loader.flattened:
            _set_sampler_epoch(loader, loop.epoch_progress.current.processed)  # type: ignore[attr-defined]
    iter(loop._data_fetcher)  # its current iterator is at the beginning
