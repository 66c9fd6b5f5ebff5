"""Exponential moving average of the network's weights."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn

from zoo.errors import ConfigError


class WeightAverage(Callback):
    """Validate and publish an exponential moving average of ``net``; the live weights are never touched.

    The average counts updates of ``net``, takes floating-point tensors alone, and starts anew from the live weights at
    a change of stage. It lives in this callback's state as plain tensors, so a checkpoint's ``net.*`` stay the live
    weights.

    Args:
        decay: of the average. Early on it is ``(1 + n) / (10 + n)`` after ``n`` updates if that is lower, so that the
            start is soon forgotten.

    Raises:
        ConfigError: the decay is outside [0, 1).
    """

    def __init__(self, decay: float = 0.999) -> None:
        if not 0 <= decay < 1:
            raise ConfigError(f"the average's decay is {decay}: give 0.999 or the like, at least 0 and below 1")
        self.decay = decay
        self._copy: nn.Module | None = None
        self._averaged: list[Tensor] = []  # the copy's tensors, and beside them the live ones
        self._live: list[Tensor] = []
        self._restored: dict[str, Any] | None = None
        self._stage = 1
        self._updates = 0
        self._seen_step = 0

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Begin from the live weights, or from the checkpoint's average."""
        restored = self._restored
        self._restart(pl_module)
        if restored is not None:
            assert self._copy is not None
            self._copy.load_state_dict(restored["average"])
            # Of another stage than the module's if the checkpoint lies between the switch and its first update.
            self._stage, self._updates = restored["stage"], restored["updates"]
            self._restored = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Only now is a resumed run's step restored."""
        self._seen_step = trainer.global_step

    def _restart(self, pl_module: Any) -> None:
        # A fresh copy, not only fresh tensors: the stage may have switched parts of the network on.
        self._copy = deepcopy(pl_module.net).eval().requires_grad_(False)
        live = pl_module.net.state_dict()
        averaged = {k: v for k, v in self._copy.state_dict().items() if v.is_floating_point()}
        self._averaged, self._live = list(averaged.values()), [live[k] for k in averaged]
        self._stage, self._updates = pl_module.stage, 0
        pl_module.publish(self._copy)

    @torch.no_grad()
    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Take in the update, if the batch completed one."""
        if trainer.global_step == self._seen_step:
            return
        self._seen_step = trainer.global_step
        if pl_module.stage != self._stage:
            self._restart(pl_module)
            return
        self._updates += 1
        weight = 1 - min(self.decay, (1 + self._updates) / (10 + self._updates))
        torch._foreach_lerp_(self._averaged, self._live, weight)

    def state_dict(self) -> dict[str, Any]:
        """The average, its count and its stage."""
        average: dict[str, Tensor] = self._copy.state_dict() if self._copy is not None else {}
        return {"average": average, "updates": self._updates, "stage": self._stage}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the average."""
        self._restored = state_dict
