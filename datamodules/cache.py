"""Shards of remote sets on the local disk: fetched when first needed, bounded, shared by the processes of a node."""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from datamodules.manifest import ShardEntry
from datamodules.remote import TransferError, transfer, with_retries
from zoo.errors import DataError

# How long a shard counts as just used without being marked anew, in seconds: marks cost a system call.
_MARK_EVERY = 1.0


class ShardCache:
    """A folder of fetched shards, each named for its SHA-256, that never holds more than ``max_bytes``.

    Where a new shard has no room, those that were used longest ago go. A file is complete and checked before it gets
    its name, so readers need no lock. One process fetches at a time, under a lock; the system frees it when its holder
    dies. On file systems whose locks do nothing a shard may be fetched more than once and the bound be passed by what
    several processes fetch at once, but what is read stays right.

    Args:
        folder: made when needed; nothing else should lie in it.
        max_bytes: bound on the files in it, those half fetched included.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        self._marked: dict[str, float] = {}

    def open(self, url: str, entry: ShardEntry) -> BinaryIO:
        """A shard to read from, fetched if it isn't there; it may leave the cache while it is open.

        Args:
            url: where the shard lies.
            entry: its line of the manifest; ``bytes`` is at most ``max_bytes``.

        Raises:
            DataError: it can't be fetched, isn't what the manifest says, or can't be stored.
        """
        path = self.folder / f"{entry.sha256}.tar"
        try:
            if (stream := self._open_present(path, entry)) is not None:
                return stream
            return with_retries(url, lambda: self._open_or_fetch(url, entry, path))
        except OSError as error:
            raise DataError(
                f"cache {self.folder} can't keep {url}: {error.strerror}; free room there, lower data.cache_bytes or "
                "name another data.cache_dir"
            ) from error

    def _open_present(self, path: Path, entry: ShardEntry) -> BinaryIO | None:
        try:
            stream = path.open("rb", buffering=0)
        except FileNotFoundError:
            return None
        if os.fstat(stream.fileno()).st_size != entry.bytes:
            # Nobody cuts a file here but a disk that lost its end in a crash.
            stream.close()
            path.unlink(missing_ok=True)
            return None
        now = time.monotonic()
        if now - self._marked.get(entry.sha256, -_MARK_EVERY) >= _MARK_EVERY:
            self._marked[entry.sha256] = now
            # Named, because the system's own idea of now may lag by some milliseconds.
            os.utime(stream.fileno(), ns=(time.time_ns(), time.time_ns()))
        return stream

    def _open_or_fetch(self, url: str, entry: ShardEntry, path: Path) -> BinaryIO:
        assert entry.bytes <= self.max_bytes
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            # Opened before the lock is given back, so that nobody's need for room can take it away first.
            with self._lock():
                if (stream := self._open_present(path, entry)) is None:
                    self._make_room(entry.bytes)
                    self._fetch(url, entry, path)
                    stream = path.open("rb", buffering=0)
                return stream
        except FileNotFoundError as error:
            # Only where locks do nothing: another process took the half fetched file for a dead one's.
            raise TransferError(f"{path.name} was removed while it was fetched") from error

    def _fetch(self, url: str, entry: ShardEntry, path: Path) -> None:
        with tempfile.NamedTemporaryFile(dir=self.folder, suffix=".part", delete=False) as stream:
            try:
                count, digest = transfer(url, stream.file, entry.bytes)
                if count != entry.bytes:
                    raise TransferError(f"{count} bytes came, dataset.json says {entry.bytes}")
                if digest != entry.sha256:
                    raise TransferError(f"SHA-256 {digest[:12]}... came, dataset.json says {entry.sha256[:12]}...")
                stream.flush()
                os.replace(stream.name, path)
            except BaseException:
                Path(stream.name).unlink(missing_ok=True)
                raise

    def _make_room(self, size: int) -> None:
        """Remove what dead processes left half fetched, then the shards used longest ago, until ``size`` fits."""
        for leftover in self.folder.glob("*.part"):
            leftover.unlink(missing_ok=True)
        shards = [(path, path.stat()) for path in self.folder.glob("*.tar")]
        held = sum(status.st_size for _, status in shards)
        for path, status in sorted(shards, key=lambda shard: shard[1].st_mtime_ns):
            if held + size <= self.max_bytes:
                break
            path.unlink(missing_ok=True)
            held -= status.st_size

    @contextmanager
    def _lock(self) -> Iterator[None]:
        # Opened for each use: the lock belongs to the open file, and so keeps out threads of this process as well.
        with (self.folder / "lock").open("ab") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            try:
                yield
            finally:
                # Said aloud, because a process forked meanwhile has inherited the open file and would keep the lock.
                fcntl.flock(stream, fcntl.LOCK_UN)
