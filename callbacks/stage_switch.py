"""Switching a module from its first stage to its second."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytorch_lightning import Callback, LightningModule, Trainer

from zoo.errors import ConfigError

if TYPE_CHECKING:
    from zoo.modules import SRITMModule


class StageSwitch(Callback):
    """Begin the second stage (modulation, or the GAN) with a given epoch.

    The stage is a function of the trainer's epoch, so a resumed run needs no state of this callback. The module's
    ``enter_stage`` is called only where its ``stage`` is another one.

    Args:
        epoch: the first epoch (from 0) of stage 2; 0 trains stage 2 alone. ``None`` for modules of one stage.

    Raises:
        ConfigError: at the start, if the number doesn't fit the module, lies past the end of the run, or would take a
            resumed run back to its first stage.
    """

    def __init__(self, epoch: int | None = None) -> None:
        self.epoch = epoch

    def setup(self, trainer: Trainer, pl_module: SRITMModule, stage: str) -> None:  # type: ignore[override]
        """Check the boundary, and tell the module."""
        if stage != "fit":
            return
        name = type(pl_module).__name__
        if pl_module.stages == 1 and self.epoch is not None:
            raise ConfigError(f"stage.epoch is {self.epoch}, but {name} trains in one stage here: leave it out")
        if pl_module.stages == 2:
            if self.epoch is None:
                raise ConfigError(f"{name} trains in two stages: give stage.epoch, the first epoch of the second")
            last = trainer.max_epochs if trainer.max_epochs is not None and trainer.max_epochs >= 0 else None
            if self.epoch < 0 or (last is not None and self.epoch >= last):
                raise ConfigError(
                    f"stage.epoch is {self.epoch}, but the run has epochs 0 to {last - 1 if last else '...'}: "
                    "the second stage would never begin; lower stage.epoch or raise trainer.max_epochs"
                )
        pl_module.switch_epoch = self.epoch

    def _follow(self, trainer: Trainer, pl_module: SRITMModule) -> None:
        stage = 1 if self.epoch is None or trainer.current_epoch < self.epoch else 2
        if pl_module.stage > stage:
            raise ConfigError(
                f"stage.epoch is {self.epoch}, but the checkpoint is of epoch {trainer.current_epoch} and in stage 2 "
                "already: give the stage.epoch that the run began with"
            )
        if pl_module.stage != stage:
            pl_module.enter_stage(stage)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Enter the stage of a fresh run before its first validation; on a resume the epoch isn't restored yet."""
        if trainer.ckpt_path is None:
            self._follow(trainer, pl_module)  # type: ignore[arg-type]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Follow a resumed run, also into the middle of an epoch."""
        self._follow(trainer, pl_module)  # type: ignore[arg-type]

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Follow the epochs."""
        self._follow(trainer, pl_module)  # type: ignore[arg-type]
