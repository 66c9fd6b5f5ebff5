"""Where a run's scalars go by default: a CSV file, and W&B, offline without an account."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

from pytorch_lightning.loggers import CSVLogger, Logger, WandbLogger

from zoo.runs import is_first_process

logger = logging.getLogger(__name__)


def loggers(run_dir: Path) -> Iterator[Logger]:
    """CSV and W&B in the run's folder. Whatever goes wrong with W&B, the run goes on without it."""
    yield CSVLogger(run_dir, name="csv")  # each start of a run writes a version of its own
    os.environ.setdefault("WANDB_SILENT", "true")  # its closing advice would bury the run's report
    account = "WANDB_API_KEY" in os.environ or (Path.home() / ".netrc").exists()
    mode = os.environ.get("WANDB_MODE", "online" if account else "offline")
    try:
        wandb = WandbLogger(name=run_dir.name, save_dir=run_dir, project="sritm-zoo", offline=mode == "offline")
        if is_first_process():
            _ = wandb.experiment  # starts the run here, where a failure can be met
    except Exception as error:  # no kind is known in advance, and none is worth a run
        logger.warning("W&B is off for this run (%s); scalars are in %s", error, run_dir / "csv")
        return
    yield wandb
