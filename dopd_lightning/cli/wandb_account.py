"""Check key and project of Weights & Biases, which itself asks for them only with the models loaded."""

from __future__ import annotations

import netrc
import os
from pathlib import Path
from urllib.parse import urlsplit

from lightning.pytorch.loggers import WandbLogger

from dopd_lightning.errors import ConfigError


def check_wandb(logger: WandbLogger) -> None:
    """Refuse names that W&B does not take, and a run online without a key. Nothing is asked of a server.

    Raises:
        ConfigError: naming the logger's setting.
    """
    import wandb  # takes a second, which runs without it need not wait for
    from wandb.errors import UsageError

    given = logger._wandb_init
    try:
        settings = wandb.Settings(project=given.get("project"), entity=given.get("entity"), run_id=given.get("id"))
    except (UsageError, ValueError) as error:
        raise ConfigError(
            f"project: {given.get('project')!r} is not taken by W&B: {' '.join(str(error).split())}"
        ) from error
    if logger._offline or os.environ.get("WANDB_MODE", "online") != "online":
        return
    keys = (os.environ.get(name) for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE"))
    own = getattr(given.get("settings"), "api_key", None)
    host = urlsplit(os.environ.get("WANDB_BASE_URL", settings.base_url)).hostname or ""
    if not (own or any(keys) or _in_netrc(host)):
        raise ConfigError(
            f"offline: false needs the key of an account, and there is none for {host} in WANDB_API_KEY or ~/.netrc; "
            "run `wandb login`, or leave offline=true"
        )


def _in_netrc(host: str) -> bool:
    path = os.environ.get("NETRC", Path.home() / ".netrc")
    try:
        return netrc.netrc(path).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False
