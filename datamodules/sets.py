"""Sets of shards by their root: a folder, a ``file://`` URL, or a URL on a server."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol
from urllib.parse import quote, urlparse
from urllib.request import url2pathname

import numpy as np

from datamodules.cache import ShardCache
from datamodules.index import known_index, no_samples, open_fetched_index, open_index
from datamodules.manifest import Manifest, ShardEntry
from datamodules.remote import fetch_manifest, is_remote
from zoo.errors import ConfigError, DataError

logger = logging.getLogger(__name__)


class Shard(Protocol):
    """A shard, wherever it lies.

    Attributes:
        name: its path or URL, for messages.
        entry: its line of the manifest.
        remote: whether reading it may mean fetching it.
    """

    name: str
    entry: ShardEntry
    remote: bool

    def index(self, tolerate_damage: bool) -> np.ndarray:
        """Its index, as ``open_index`` gives it.

        Raises:
            DataError: the shard can't be had or isn't what the manifest says.
        """
        ...

    def open(self) -> BinaryIO:
        """The file, unbuffered.

        Raises:
            DataError: the shard can't be had any more.
        """
        ...


class LocalShard:
    """A shard in a folder.

    Args:
        folder: of the set.
        entry: the shard's line of the manifest.
    """

    remote = False

    def __init__(self, folder: Path, entry: ShardEntry) -> None:
        self.entry = entry
        self.name = str(folder / entry.file)
        self._folder = folder

    def index(self, tolerate_damage: bool) -> np.ndarray:
        """See ``Shard``."""
        return open_index(self._folder, self.entry, tolerate_damage)

    def open(self) -> BinaryIO:
        """See ``Shard``."""
        try:
            return open(self.name, "rb", buffering=0)
        except OSError as error:
            raise DataError(f"shard {self.name} can't be read any more: {error.strerror}") from error


class RemoteShard:
    """A shard on a server, read through the cache.

    Args:
        root: URL of the set.
        entry: the shard's line of the manifest.
        cache: where it is kept.
    """

    remote = True

    def __init__(self, root: str, entry: ShardEntry, cache: ShardCache) -> None:
        self.entry = entry
        self.name = f"{root.rstrip('/')}/{quote(entry.file)}"
        self._cache = cache

    def index(self, tolerate_damage: bool) -> np.ndarray:
        """See ``Shard``; with ``tolerate_damage`` a shard that can't be fetched has no samples."""
        if (index := known_index(self.entry)) is not None:
            return index
        try:
            with self.open() as stream:
                return open_fetched_index(stream, self.name, self.entry, tolerate_damage)
        except DataError as error:
            if not tolerate_damage:
                raise
            logger.warning("%s", error)
            return no_samples()

    def open(self) -> BinaryIO:
        """See ``Shard``."""
        return self._cache.open(self.name, self.entry)


@dataclass(frozen=True)
class ShardSet:
    """A set as its manifest describes it.

    Attributes:
        name: its root, for messages.
        manifest: the content of ``dataset.json``.
        cache: where its shards are kept once fetched; None for a folder.
    """

    name: str
    manifest: Manifest
    cache: ShardCache | None

    def shards(self, split: str) -> list[Shard]:
        """The shards of ``train``, ``val`` or ``test``, in the order of the manifest."""
        entries = self.manifest.splits.get(split, ())
        if self.cache is None:
            return [LocalShard(Path(self.name), entry) for entry in entries]
        return [RemoteShard(self.name, entry, self.cache) for entry in entries]

    def check_room(self, split: str) -> None:
        """Refuse a cache that can't hold each shard of a split by itself.

        Raises:
            ConfigError: it can't.
        """
        largest = max((entry.bytes for entry in self.manifest.splits.get(split, ())), default=0)
        if self.cache is not None and largest > self.cache.max_bytes:
            raise ConfigError(
                f"a cache of {self.cache.max_bytes} bytes can't hold the {split} shards of {self.name}, of up to "
                f"{largest} bytes; set data.cache_bytes to {largest} or more"
            )

    def window(self, split: str, cache_bytes: int) -> int | None:
        """Shards that are mixed with each other at a time, so that two such windows fit in the cache.

        While one window is read, the next is fetched.

        Args:
            split: whose shards.
            cache_bytes: the part of the cache that is this set's.

        Returns:
            A number of shards; None, the whole set, where it is local or all of the split fits.

        Raises:
            ConfigError: the cache doesn't hold two shards.
        """
        sizes = [entry.bytes for entry in self.manifest.splits.get(split, ())]
        if self.cache is None or sum(sizes) <= cache_bytes:
            return None
        if (window := cache_bytes // (2 * max(sizes))) < 1:
            raise ConfigError(
                f"a cache of {cache_bytes} bytes can't hold two shards of {self.name}, of up to {max(sizes)} bytes; "
                f"set data.cache_bytes to {2 * max(sizes)} or more for each remote set"
            )
        return window


def open_set(root: str, cache: ShardCache) -> ShardSet:
    """Read the manifest of a set.

    Args:
        root: a folder (``~`` is the home folder), a ``file://`` URL, or a URL of ``http(s)``, ``s3`` or ``gs``.
        cache: for the shards of a remote set.

    Raises:
        DataError: there is no set, or its manifest is damaged.
        ConfigError: a URL of another kind.
    """
    if is_remote(root):
        return ShardSet(root, fetch_manifest(root), cache)
    if root.startswith("file:"):
        root = url2pathname(urlparse(root).path)
    elif "://" in root:
        raise ConfigError(f"data.root {root}: sets are read from folders, file://, http(s)://, s3:// and gs://")
    folder = Path(root).expanduser()
    return ShardSet(str(folder), Manifest.read(folder), None)
