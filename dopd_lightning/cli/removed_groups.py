"""Parts that the command line leaves out, by ``~part``."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

_GROUPS: dict[str, Any] = {
    "teacher": {},
    "sources": {},
    "logger": {},
    "callbacks": {},
    # Without a scheduler, the learning rate stays what it is.
    "scheduler": {"_target_": "transformers.get_scheduler", "_partial_": True, "name": "constant"},
}
_VALUES: dict[str, Any] = {
    **{f"data.{name}": None for name in ("train", "val", "test", "predict")},
    # As Lightning's own defaults.
    "trainer.strategy": "auto",
    "trainer.val_check_interval": None,
    "trainer.accumulate_grad_batches": 1,
}


def fill_absent(config: DictConfig) -> None:
    """Put in what a run without these parts is: no teacher, source, logger, callback or data set, and a constant rate.

    Parts that every run needs, such as ``student``, stay absent, and are missed by name.
    """
    with open_dict(config):
        for group, none in _GROUPS.items():
            if config.get(group) is None:
                config[group] = none
        for key, value in _VALUES.items():
            node, _, name = key.partition(".")
            if OmegaConf.is_dict(config.get(node)) and name not in config[node]:
                config[node][name] = value
