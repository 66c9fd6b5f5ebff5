"""Fitting a run into a number of minutes: time a few steps of each stage, then choose the epochs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

GAN_SHARE = 0.2  # of the budget, for the second stage
GAN_STEPS = 30  # at least


@dataclass(frozen=True)
class Plan:
    """Epochs that fit a budget."""

    stage_epoch: int | None
    max_epochs: int


class StepTimer(Callback):
    """Seconds of each step, from the end of one batch to the end of the next.

    Attributes:
        seconds: one entry for each batch but the first, which warms up.
        batches: batches in an epoch.
    """

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.batches = 0
        self._last: float | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the length of an epoch."""
        self.batches = int(trainer.num_training_batches)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        """Take the time."""
        now = time.perf_counter()
        if self._last is not None:
            self.seconds.append(now - self._last)
        self._last = now

    @property
    def step(self) -> float:
        """Seconds for one batch: the median."""
        return sorted(self.seconds)[len(self.seconds) // 2]


def plan(
    minutes: float, stages: int, probe: Callable[[int], tuple[float, int]], validation: Callable[[], float], every: int
) -> Plan:
    """Choose ``stage.epoch`` and ``trainer.max_epochs`` so that training takes about ``minutes``.

    The second stage gets its share of the time, but at least its least number of steps.

    Args:
        minutes: for training with its validations.
        stages: of the module.
        probe: times a stage, giving seconds for one batch and batches in an epoch.
        validation: gives seconds for one validation, once the stages are timed.
        every: epochs between validations.

    Returns:
        At least one epoch of each stage, however small the budget.
    """
    timings = [probe(stage) for stage in range(1, stages + 1)]
    costs = [step * batches + validation() / every for step, batches in timings]
    seconds = 60 * minutes
    if stages == 1:
        return Plan(None, max(1, int(seconds / costs[0])))
    second = max(round(GAN_SHARE * seconds / costs[1]), -(-GAN_STEPS // timings[1][1]))
    first = max(1, int((seconds - second * costs[1]) / costs[0]))
    return Plan(first, first + second)
