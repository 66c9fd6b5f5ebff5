"""The order of training samples: a pure function of seed and epoch, the same for any number of ranks and workers.

A slot is a place in the epoch's global order. Which sample fills it, and how that sample is cropped and turned, depends
on (seed, epoch, slot) alone. All draws come from Philox streams (Salmon et al., "Parallel random numbers: as easy as
1, 2, 3", SC 2011), whose position is addressed directly, so no slot waits for the draws of another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Slot(NamedTuple):
    """A place in the global order of an epoch; both count from 0."""

    epoch: int
    slot: int


def slot_generator(seed: int, slot: Slot) -> np.random.Generator:
    """Random numbers that belong to one slot.

    Args:
        seed: 0 to 2**64 - 1.
        slot: the place that the numbers are for.

    Returns:
        A generator whose stream meets neither another slot's nor that of ``epoch_order``.
    """
    return _stream(seed, slot.epoch, slot.slot + 1)


def order_generator(seed: int, epoch: int, part: int) -> np.random.Generator:
    """Random numbers that an epoch's order is drawn from; orders with another ``part`` have numbers of their own."""
    return _stream(seed, epoch, 0, part)


def _stream(seed: int, epoch: int, stream: int, part: int = 0) -> np.random.Generator:
    # The generator counts in the low words; the highest tells slots apart, 0 being the order's. Of a list, numpy would
    # round large seeds to float64.
    key = np.array([seed, epoch], np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, part, stream]))


def epoch_order(
    shard_sizes: Sequence[int], seed: int, epoch: int, window: int | None = None, part: int = 0
) -> np.ndarray:
    """The samples of an epoch in the order in which slots take them.

    Shards are permuted, then the samples within each window of consecutive shards.

    Args:
        shard_sizes: samples in each shard.
        seed: 0 to 2**64 - 1.
        epoch: counted from 0; each epoch has an order of its own.
        window: shards that are mixed with each other; None mixes the whole set. It bounds what must be at hand
            at one time when shards are not local.
        part: tells apart sets that are mixed with each other, so that equal ones don't go in step.

    Returns:
        int64, (n,): sample numbers, each of 0..n-1 once. Sample i of shard k has the number
        ``sum(shard_sizes[:k]) + i``.
    """
    generator = order_generator(seed, epoch, part)
    starts = np.cumsum([0, *shard_sizes])
    shards = generator.permutation(len(shard_sizes))
    step = window or max(1, len(shards))
    windows = []
    for first in range(0, len(shards), step):
        numbers = [np.arange(starts[shard], starts[shard + 1]) for shard in shards[first : first + step]]
        windows.append(generator.permutation(np.concatenate(numbers)))
    return np.concatenate(windows) if windows else np.empty(0, np.int64)


def batch_slots(batch: int, batch_size: int, rank: int, world_size: int) -> range:
    """Slots that a rank takes of a global batch: ``[(b w + r) B, (b w + r + 1) B)``.

    Args:
        batch: b, the number of the batch in the epoch, from 0.
        batch_size: B, samples for each rank.
        rank: r, from 0.
        world_size: w, ranks altogether.
    """
    first = (batch * world_size + rank) * batch_size
    return range(first, first + batch_size)
