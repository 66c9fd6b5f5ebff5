"""How long epochs are, and what of it a run that goes on may not change."""

from __future__ import annotations

from typing import Any

from pytorch_lightning import Trainer

from zoo.errors import ConfigError
from zoo.modules import SRITMModule


def epoch_batches(trainer: Trainer, data: Any) -> int:
    """Batches of an epoch on each rank, as the trainer limits them: to a number or a share."""
    batches, limit = len(data.train_dataloader()), trainer.limit_train_batches
    return min(batches, limit) if isinstance(limit, int) else int(batches * limit)


def check_intervals(trainer: Trainer, batches: int) -> None:
    """Refuse intervals of validation that never come.

    Raises:
        ConfigError: the trainer validates within epochs, but after more batches than they have.
    """
    interval = trainer.val_check_interval
    if trainer.check_val_every_n_epoch is not None and isinstance(interval, int) and interval > batches:
        raise ConfigError(f"trainer.val_check_interval is {interval}, but an epoch has {batches} batches: lower it")


def check_schedule(was: dict[str, Any], epoch: int, module: SRITMModule, batches: int, switch: int | None) -> None:
    """Refuse changes by which a run that goes on would be elsewhere in its schedule of rates than its updates are.

    Args:
        was: what the checkpoint says of itself.
        epoch: its epoch.
        module: as it is configured now.
        batches: of an epoch now.
        switch: the first epoch of the second stage now.

    Raises:
        ConfigError: epochs have another number of batches or updates, or the stages another boundary.
    """
    then = (was.get("batches", batches), was.get("accumulate", module.accumulate))
    if then != (batches, module.accumulate):
        now = _length(batches, module.accumulate)
        raise ConfigError(
            f"the checkpoint's run has epochs of {_length(*then)}, here they have {now}: give the same data, global "
            "batch (data.global_batch_size, whatever the ranks), trainer.limit_train_batches and model.accumulate, or "
            "begin a new run with --model.weights"
        )
    before = was.get("switch", switch)
    if before == switch or (before is None or switch is None):
        return
    if was["stage"] == 2 or switch <= epoch:
        stage = was["stage"]
        raise ConfigError(
            f"stage.epoch is {switch}, it was {before}, and the checkpoint is of epoch {epoch} in stage {stage}: "
            f"give {before}{'' if stage == 2 else f', or more than {epoch}'}"
        )


def _length(batches: int, accumulate: int) -> str:
    return f"{batches} batches" + (f", {accumulate} for each update" if accumulate > 1 else "")
