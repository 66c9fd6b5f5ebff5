"""Batches of slots, and a loader that says how far it came and goes on from there."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from datamodules.order import Slot, batch_slots
from zoo.errors import ConfigError


class SlotBatches:
    """Batch sampler: the slots of one rank, batch by batch; the last incomplete global batch is dropped.

    Iterating has no side effects, because a loader with workers iterates more than once for each epoch.

    Args:
        samples: samples in the whole set.
        batch_size: samples for each rank.
        rank: this rank, from 0.
        world_size: ranks altogether.
    """

    def __init__(self, samples: int, batch_size: int, rank: int, world_size: int) -> None:
        self.samples = samples
        self.batch_size = batch_size
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0
        self._resume = (0, 0)

    @property
    def sampler(self) -> SlotBatches:
        """Itself: Lightning calls ``set_epoch`` on a batch sampler's ``sampler`` alone."""
        return self

    @property
    def first_batch(self) -> int:
        """The batch with which the present epoch begins: 0, but where it was broken off before."""
        epoch, batch = self._resume
        return batch if epoch == self.epoch else 0

    def set_epoch(self, epoch: int) -> None:
        """Take the order of ``epoch`` from the next iteration on."""
        self.epoch = epoch

    def resume(self, epoch: int, batch: int) -> None:
        """Go to ``epoch``, and begin it (it alone) with ``batch``."""
        self.epoch = epoch
        self._resume = (epoch, batch)

    def __len__(self) -> int:
        """Batches in a whole epoch."""
        return self.samples // (self.batch_size * self.world_size)

    def __iter__(self) -> Iterator[list[Slot]]:
        for batch in range(self.first_batch, len(self)):
            slots = batch_slots(batch, self.batch_size, self.rank, self.world_size)
            yield [Slot(self.epoch, slot) for slot in slots]


class SlotLoader(DataLoader):
    """Loader over ``SlotBatches`` whose state is the place in the epoch, whatever the rank and number of workers.

    Lightning keeps the state of rank 0 in its checkpoints and gives it to all ranks.

    Args:
        dataset: maps a ``Slot`` to a sample.
        batches: the slots of this rank.
        order: plain facts that the order follows from (seed, digest of the set, global batch, windows if any); a state
            with more, fewer or other ones is refused in the middle of an epoch.
        options: further arguments of ``DataLoader``.
    """

    def __init__(self, dataset: Dataset, batches: SlotBatches, order: dict[str, Any], **options: Any) -> None:
        # A generator of its own: each iteration draws from it, and a resumed run must find the global one as it was.
        options = {"worker_init_fn": leave_stopping_to_the_parent} | options
        super().__init__(dataset, batch_sampler=batches, generator=torch.Generator(), **options)
        self._batches = batches
        self._order = order
        self._progress = (0, 0)

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]  # no more than an iterator is asked of it
        # A generator function: nothing starts before the first batch is asked for. On resume Lightning calls iter()
        # before it sets the epoch.
        epoch, done = self._batches.epoch, self._batches.first_batch
        self._progress = (epoch, done)
        for batch in super().__iter__():
            # Counted before it is handed out: Lightning doesn't come back after the last batch.
            done += 1
            self._progress = (epoch, done)
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """Epoch, batches done in it, batches it has, and what the order follows from."""
        epoch, done = self._progress
        if epoch != self._batches.epoch:  # the next epoch is set but not begun
            epoch, done = self._batches.epoch, 0
        return {"epoch": epoch, "done": done, "batches": len(self), "order": dict(self._order)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with the batch after those done.

        Raises:
            ConfigError: the state was taken within an epoch of another order, so no batch is the next one.
        """
        epoch, done = state["epoch"], state["done"]
        if done >= state["batches"]:
            epoch, done = epoch + 1, 0
        was, now = state["order"], self._order
        changed = [name for name in {**was, **now} if was.get(name) != now.get(name)]
        if done and changed:
            facts = ", ".join(f"{name} {was.get(name)} (now {now.get(name)})" for name in changed)
            raise ConfigError(
                f"can't resume within epoch {epoch}: the checkpoint was made with {facts}; restore that or resume from "
                "a checkpoint at the end of an epoch"
            )
        self._batches.resume(epoch, done)
        self._progress = (epoch, done)


def leave_stopping_to_the_parent(worker: int) -> None:
    """For the start of a worker: a signal to the whole group is to leave it alive until the parent has saved.

    The parent's own SIGTERM still ends it: so a loader's workers end with the program, which waits for them.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # macOS has none
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # threads that begin from now on inherit it
        threading.Thread(target=_await_the_parent, daemon=True).start()


def _await_the_parent() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)


def same_size_batches(sizes: Sequence[tuple[int, int]], batch_size: int) -> list[list[int]]:
    """Positions of pictures in batches of one picture size each; every position once.

    Args:
        sizes: height and width of each picture.
        batch_size: most pictures in a batch.

    Returns:
        The batches, in the order of their first pictures.
    """
    groups: dict[tuple[int, int], list[int]] = {}
    for position, size in enumerate(sizes):
        groups.setdefault(size, []).append(position)
    batches = [
        group[first : first + batch_size] for group in groups.values() for first in range(0, len(group), batch_size)
    ]
    return sorted(batches)
