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
    # The generator counts in the low words; the highest tells the streams apart, 0 being the order's.
    return np.random.Generator(np.random.Philox(key=_key(seed, slot.epoch), counter=[0, 0, 0, slot.slot + 1]))


def _key(seed: int, epoch: int) -> np.ndarray:
    # Of a list, numpy would round large seeds to float64.
    return np.array([seed, epoch], np.uint64)


def epoch_order(shard_sizes: Sequence[int], seed: int, epoch: int, window: int | None = None) -> np.ndarray:
    """The samples of an epoch in the order in which slots take them.

    Shards are permuted, then the samples within each window of consecutive shards.

    Args:
        shard_sizes: samples in each shard.
        seed: 0 to 2**64 - 1.
        epoch: counted from 0; each epoch has an order of its own.
        window: shards that are mixed with each other; None mixes the whole set. It bounds what must be at hand
            at one time when shards are not local.

    Returns:
        int64, (n,): sample numbers, each of 0..n-1 once. Sample i of shard k has the number
        ``sum(shard_sizes[:k]) + i``.
    """
    generator = np.random.Generator(np.random.Philox(key=_key(seed, epoch)))
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


def fill_lost(order: np.ndarray, readable: np.ndarray) -> np.ndarray:
    """Give each slot whose sample is lost the next good sample of the order (round its end, if need be).

    Args:
        order: sample numbers by slot, (n,).
        readable: whether sample number i can be read, bool, (n,); at least one can.

    Returns:
        Sample numbers by slot, (n,), all readable.
    """
    good = np.flatnonzero(readable[order])
    following = np.searchsorted(good, np.arange(len(order)))
    return order[good[following % len(good)]]
