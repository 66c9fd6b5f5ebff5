"""The order of several sets that are mixed by weight: a pure function of seed and epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from datamodules.order import epoch_order, order_generator


@dataclass(frozen=True)
class Part:
    """A set within a mixture.

    Attributes:
        shard_sizes: samples in each of its shards; one at least.
        weight: its share of the slots, relative to those of the others.
        window: shards that are mixed with each other at a time; None: all.
    """

    shard_sizes: Sequence[int]
    weight: float
    window: int | None = None

    @property
    def samples(self) -> int:
        """Samples in all shards."""
        return sum(self.shard_sizes)


class MixedOrder:
    """Which sample each slot of an epoch takes.

    An epoch has as many slots as all sets have samples. Each set fills its share of them, the same number in each epoch
    and scattered over it, with its samples in the order of ``epoch_order``: pass after pass, each with an order of its
    own, whether a pass ends within an epoch or goes on in the next. So a set's samples come once in each of its passes.
    A single set makes one pass an epoch.

    Args:
        parts: the sets. Samples are numbered through them all, the first set's from 0.
        seed: 0 to 2**64 - 1.
    """

    def __init__(self, parts: Sequence[Part], seed: int) -> None:
        self._parts = parts
        self._seed = seed
        self.shares = apportion(len(self), [part.weight for part in parts])

    def __len__(self) -> int:
        """Slots of an epoch."""
        return sum(part.samples for part in self._parts)

    @property
    def windows(self) -> list[int | None]:
        """Each set's window, as ``Part`` has it."""
        return [part.window for part in self._parts]

    def numbers(self, epoch: int) -> np.ndarray:
        """Sample numbers by slot, int64 ``(n,)``."""
        order = np.repeat(np.arange(len(self._parts)), self.shares)
        if len(self._parts) > 1:
            order = order_generator(self._seed, epoch, len(self._parts)).permutation(order)
        numbers = np.empty(len(self), np.int64)
        start = 0
        for place, part in enumerate(self._parts):
            numbers[order == place] = start + self._stretch(place, epoch)
            start += part.samples
        return numbers

    def window_slots(self) -> int:
        """Slots in which the window of one set is used up, on average, where that is soonest; 0: no set has windows."""
        slots = [
            part.window * part.samples / len(part.shard_sizes) * len(self) / share
            for part, share in zip(self._parts, self.shares, strict=True)
            if part.window is not None and share
        ]
        return int(min(slots, default=0))

    def _stretch(self, place: int, epoch: int) -> np.ndarray:
        """The samples of one set that an epoch takes, in order; numbered within the set."""
        part, share = self._parts[place], self.shares[place]
        first = epoch * share
        passes = range(first // part.samples, -(-(first + share) // part.samples))
        orders = [epoch_order(part.shard_sizes, self._seed, number, part.window, place) for number in passes]
        begin = first % part.samples
        return np.concatenate([np.empty(0, np.int64), *orders])[begin : begin + share]


def apportion(total: int, weights: Sequence[float]) -> list[int]:
    """Whole shares of ``total`` in proportion to weights, by largest remainders.

    Args:
        total: what is shared out, all of it.
        weights: above 0.
    """
    quotas = [total * weight / sum(weights) for weight in weights]
    shares = [int(quota) for quota in quotas]
    by_remainder = sorted(range(len(quotas)), key=lambda place: shares[place] - quotas[place])
    for place in by_remainder[: total - sum(shares)]:
        shares[place] += 1
    return shares
