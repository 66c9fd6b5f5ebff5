"""Stopping a run whose loss or weights are no longer numbers."""

from __future__ import annotations

from typing import Any

import torch
from pytorch_lightning import Callback, Trainer
from torch import Tensor

from zoo.errors import DivergenceError

_ADVICE = "lower the rates (model.rates) or set model.clip_norm"


class DivergenceGuard(Callback):
    """End a run with one line when a training loss or a weight is NaN or infinite.

    Losses stay on the device until a look, which costs one synchronisation: every ``every`` batches, before each
    validation and at the end of each epoch. So nothing is validated, published or saved after the accident, and the
    newest checkpoint is that of the last good epoch. A gradient that isn't finite is found by the weights that it
    spoils; one that a gradient scaler skips (``16-mixed``) is none. The mean loss over the ranks is looked at, and
    their weights are the same, so all ranks stop alike. Stands before the callbacks that write.

    Args:
        every: batches between two looks.

    Raises:
        DivergenceError: the step and its loss, where the last good state lies, and what to try.
    """

    def __init__(self, every: int = 20) -> None:
        self.every = every
        self._losses: list[tuple[int, Tensor]] = []  # step, loss; since the last look

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Keep the loss, and look from time to time."""
        # A manual module gives no loss for a batch that it only collects.
        if outputs and "loss" in outputs:
            self._losses.append((trainer.global_step, outputs["loss"].detach()))
        if (batch_idx + 1) % self.every == 0:
            self._look(trainer, pl_module)

    def on_validation_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Look before the weights are scored and published."""
        if trainer.state.fn == "fit":
            self._look(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Look before the epoch is saved."""
        self._look(trainer, pl_module)

    def _look(self, trainer: Trainer, pl_module: Any) -> None:
        if not self._losses:
            return
        steps, losses = [step for step, _ in self._losses], [loss for _, loss in self._losses]
        self._losses = []
        norm = torch.stack(torch._foreach_norm([p.detach() for p in pl_module.parameters()])).sum()
        seen = torch.stack([*(loss.double() for loss in losses), norm.double()])
        # The mean is NaN or infinite if any rank's is, and the same on each: what follows is decided alike.
        *means, weights = trainer.strategy.reduce(seen, reduce_op="mean").tolist()
        for step, loss in zip(steps, means, strict=True):
            if not _finite(loss):
                raise DivergenceError(f"training diverged at step {step}: the loss is {loss}; {_way_out(trainer)}")
        if not _finite(weights):
            raise DivergenceError(
                f"training diverged by step {steps[-1]}: weights are NaN or infinite, though the loss was "
                f"{means[-1]:g}; {_way_out(trainer)}"
            )


def _finite(value: float) -> bool:
    return abs(value) < float("inf")


def _way_out(trainer: Trainer) -> str:
    last = getattr(trainer.checkpoint_callback, "last_model_path", "")
    return f"{_ADVICE}{f'; the last good state is {last}' if last else ''}"
