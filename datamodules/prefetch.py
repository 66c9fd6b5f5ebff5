"""Fetching the shards of a remote set before they are needed."""

from __future__ import annotations

import logging
import threading
from queue import Empty, SimpleQueue

import numpy as np

from datamodules.reader import ShardReader
from zoo.errors import ZooError

logger = logging.getLogger(__name__)


class Prefetcher:
    """Fetches remote shards in the order in which an epoch comes to them, in a thread of the process that reads.

    All reading processes of a node do this; the cache sees to it that only one of them fetches a shard.

    Args:
        reader: whose shards.
        numbers: the sample of each slot of the epoch.
    """

    def __init__(self, reader: ShardReader, numbers: np.ndarray) -> None:
        self._reader = reader
        shard_of = reader.shard_of(numbers)
        shards, first = np.unique(shard_of, return_index=True)
        last = len(numbers) - 1 - np.unique(shard_of[::-1], return_index=True)[1]
        stays = zip(first.tolist(), last.tolist(), shards.tolist(), strict=True)
        # The slots between which each shard is used, soonest last.
        self._ahead = sorted((stay for stay in stays if reader.shards[stay[2]].remote), reverse=True)
        self._queue: SimpleQueue[int] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def reach(self, slot: int, horizon: int) -> None:
        """Fetch what the slots from ``slot`` to ``horizon`` need; returns at once."""
        while self._ahead and self._ahead[-1][0] <= horizon:
            _, last, shard = self._ahead.pop()
            if last >= slot:  # after a resume the epoch may be past it
                self._queue.put(shard)
        # Started here, so that it belongs to the worker process.
        if not self._queue.empty() and (self._thread is None or not self._thread.is_alive()):
            self._thread = threading.Thread(target=self._fetch, daemon=True)
            self._thread.start()

    def _fetch(self) -> None:
        while True:
            try:
                shard = self._reader.shards[self._queue.get_nowait()]
            except Empty:
                return
            try:
                shard.open().close()
            except ZooError as error:
                logger.debug("left to the reader: %s", error)
