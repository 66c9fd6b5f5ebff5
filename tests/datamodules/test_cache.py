from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from datamodules import cache as cache_module
from datamodules import remote
from datamodules.cache import ShardCache
from datamodules.manifest import Manifest, ShardEntry
from tests.datamodules.set_server import SetServer, watched
from zoo.errors import DataError


@pytest.fixture
def folder(make_set) -> Path:
    return make_set(train=(3, 3, 3, 3))


@pytest.fixture
def entries(folder: Path) -> tuple[ShardEntry, ...]:
    entries = Manifest.read(folder).splits["train"]
    assert len({entry.bytes for entry in entries}) == 1
    return entries


@pytest.fixture
def server(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SetServer]:
    monkeypatch.setattr(remote, "_WAITS", (0.01, 0.01))
    with SetServer(folder).running() as server:
        yield server


@pytest.fixture
def cache(tmp_path: Path, entries: tuple[ShardEntry, ...]) -> ShardCache:
    """Room for two and a half shards."""
    return ShardCache(tmp_path / "cache", entries[0].bytes * 5 // 2)


def read(cache: ShardCache, server: SetServer, entry: ShardEntry) -> bytes:
    with cache.open(f"{server.url}/{entry.file}", entry) as stream:
        return stream.read()


def kept(cache: ShardCache, entries: tuple[ShardEntry, ...]) -> list[bool]:
    return [(cache.folder / f"{entry.sha256}.tar").exists() for entry in entries]


def test_a_shard_is_fetched_once(cache, server, folder, entries):
    for _ in range(3):
        assert read(cache, server, entries[0]) == (folder / entries[0].file).read_bytes()
    assert server.requests[entries[0].file] == 1


def test_what_was_used_longest_ago_goes_and_the_bound_holds_all_the_time(cache, server, entries, monkeypatch):
    monkeypatch.setattr(cache_module, "_MARK_EVERY", 0.0)
    cache.folder.mkdir()
    with watched(cache.folder) as most:
        for place in (0, 1, 0, 2):
            read(cache, server, entries[place])
        assert kept(cache, entries) == [True, False, True, False]
        for place in (3, 1, 2, 0) * 3:
            read(cache, server, entries[place])
    assert entries[0].bytes < most[-1] <= cache.max_bytes


def test_a_shard_that_leaves_while_it_is_read_is_read_to_its_end(cache, server, folder, entries):
    with cache.open(f"{server.url}/{entries[0].file}", entries[0]) as stream:
        for entry in entries[1:]:
            read(cache, server, entry)
        assert not kept(cache, entries)[0]
        assert stream.read() == (folder / entries[0].file).read_bytes()
    assert read(cache, server, entries[0]) == (folder / entries[0].file).read_bytes()


@pytest.mark.parametrize("trouble", ["429", "500", "drop", "cut", "wrong", "long"])
def test_trouble_is_mended_by_another_try_or_named(cache, server, folder, entries, trouble):
    name = entries[0].file
    server.troubles[name] = [trouble, trouble]
    assert read(cache, server, entries[0]) == (folder / name).read_bytes()
    assert server.requests[name] == 3
    server.troubles[entries[1].file] = [trouble] * 3
    reason = {
        "429": "error: 429",
        "500": "error: 500",
        "drop": "curl: ",
        "cut": f"{entries[1].bytes // 2} bytes came, dataset.json says {entries[1].bytes}",
        "wrong": r"SHA-256 \w{12}\.\.\. came",
        "long": f"more than {entries[1].bytes} bytes came",
    }[trouble]
    with pytest.raises(
        DataError, match=rf"^{server.url}/{entries[1].file} can't be fetched, tried 3 times: .*{reason}"
    ):
        read(cache, server, entries[1])
    assert kept(cache, entries) == [True, False, False, False]
    assert not list(cache.folder.glob("*.part"))


def open_and_exit(cache: ShardCache, url: str, entry: ShardEntry, barrier: multiprocessing.Barrier) -> None:
    barrier.wait()
    with cache.open(url, entry) as stream:
        os._exit(0 if len(stream.read()) == entry.bytes else 1)


def test_processes_that_want_a_shard_at_once_fetch_it_once(cache, server, entries):
    server.delay = 0.1
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(4)
    url = f"{server.url}/{entries[0].file}"
    processes = [context.Process(target=open_and_exit, args=(cache, url, entries[0], barrier)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
        assert process.exitcode == 0
    assert server.requests[entries[0].file] == 1


def test_a_process_forked_during_a_fetch_leaves_the_lock_free(cache, server, entries):
    server.delay = 1.0
    thread = threading.Thread(target=read, args=(cache, server, entries[0]))
    thread.start()
    while not server.requests:
        time.sleep(0.01)
    # The program that fetches asks before Popen returns; a process forked until then would hold its pipe open as well.
    time.sleep(0.3)
    child = os.fork()
    if child == 0:
        threading.Event().wait(20)
        os._exit(0)
    try:
        thread.join(10)
        assert not thread.is_alive()
        read(cache, server, entries[1])
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)


def test_what_a_killed_process_left_half_fetched_is_removed(cache, server, entries):
    cache.folder.mkdir()
    (cache.folder / "tmp123.part").write_bytes(bytes(cache.max_bytes))
    read(cache, server, entries[0])
    assert sorted(path.suffix for path in cache.folder.iterdir()) == ["", ".tar"]


def test_a_file_that_lost_its_end_is_fetched_again(cache, server, folder, entries):
    read(cache, server, entries[0])
    os.truncate(cache.folder / f"{entries[0].sha256}.tar", 100)
    assert read(cache, server, entries[0]) == (folder / entries[0].file).read_bytes()


def test_a_folder_that_cant_be_written_is_named(server, entries, tmp_path):
    (tmp_path / "file").touch()
    cache = ShardCache(tmp_path / "file" / "cache", 10**6)
    with pytest.raises(DataError, match=r"cache .*file/cache can't keep http.*Not a directory; .*data.cache_dir"):
        read(cache, server, entries[0])


def test_a_full_disk_is_named_and_leaves_nothing_behind(cache, server, entries, monkeypatch):
    def full(url: str, target: object, most_bytes: int) -> tuple[int, str]:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache_module, "transfer", full)
    with pytest.raises(DataError, match=r"can't keep .*No space left on device; free room"):
        read(cache, server, entries[0])
    assert [path.name for path in cache.folder.iterdir()] == ["lock"]
