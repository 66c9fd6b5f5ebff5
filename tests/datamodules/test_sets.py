from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from datamodules import remote
from datamodules.cache import ShardCache
from datamodules.manifest import Manifest
from datamodules.sets import open_set
from tests.datamodules.set_server import SetServer
from zoo.errors import ConfigError, DataError


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "_WAITS", (0.01,))


@pytest.fixture
def cache(tmp_path: Path) -> ShardCache:
    return ShardCache(tmp_path / "cache", 10**6)


def test_a_folder_and_a_file_url_are_the_same_set(make_set, cache, monkeypatch):
    folder = make_set()
    monkeypatch.setenv("HOME", str(folder.parent))
    sets = [open_set(root, cache) for root in (str(folder), folder.as_uri(), f"~/{folder.name}")]
    assert {each.manifest.digest for each in sets} == {sets[0].manifest.digest}
    assert {shard.name for each in sets for shard in each.shards("val")} == {str(folder / "val-0.tar")}
    assert not cache.folder.exists()


def test_other_urls_are_refused(cache):
    with pytest.raises(ConfigError, match=r"data.root ftp://a/b: sets are read from folders, file://, http"):
        open_set("ftp://a/b", cache)


def test_a_remote_shard_is_indexed_once_for_all_even_if_it_leaves_the_cache(make_set, cache):
    with SetServer(make_set(train=(5, 3))).running() as server:
        shard = open_set(server.url, cache).shards("train")[0]
        assert shard.name == f"{server.url}/train-0.tar"
        index = shard.index(tolerate_damage=False)
        assert index["whole"].tolist() == [True] * 5
        for path in cache.folder.glob("*.tar"):
            path.unlink()
        again = open_set(server.url, cache).shards("train")[0].index(tolerate_damage=False)
        assert (again == index).all()
        assert server.requests["train-0.tar"] == 1


def test_a_remote_shard_that_isnt_what_its_manifest_says_is_refused_or_lost(make_set, cache, caplog):
    folder = make_set(train=(5,))
    (folder / "train-0.tar").unlink()
    with SetServer(folder).running() as server:
        shard = open_set(server.url, cache).shards("train")[0]
        with pytest.raises(DataError, match=r"train-0.tar can't be fetched: .*404"):
            shard.index(tolerate_damage=False)
        assert len(shard.index(tolerate_damage=True)) == 0
        assert "error: 404" in caplog.text


def test_a_remote_shard_with_other_samples_than_said_is_refused_unless_tolerated(make_set, cache):
    with SetServer(make_set(train=(5,))).running() as server:
        shard = open_set(server.url, cache).shards("train")[0]
        shard.entry = replace(shard.entry, samples=6)
        with pytest.raises(DataError, match=r"train-0.tar holds 5 whole samples, dataset.json says 6"):
            shard.index(tolerate_damage=False)
        assert len(shard.index(tolerate_damage=True)) == 5


def test_the_cache_must_hold_two_windows_of_a_remote_set(make_set, cache):
    folder = make_set(train=(3, 3, 2, 3, 3))
    with SetServer(folder).running() as server:
        remote_set = open_set(server.url, cache)
        sizes = [shard.entry.bytes for shard in remote_set.shards("train")]
        largest = max(sizes)
        assert remote_set.window("train", sum(sizes)) is None
        assert remote_set.window("train", 4 * largest) == 2
        assert remote_set.window("train", 4 * largest - 1) == 1
        with pytest.raises(ConfigError, match=rf"can't hold two shards of {server.url}.*cache_bytes to {2 * largest}"):
            remote_set.window("train", 2 * largest - 1)
        assert open_set(str(folder), cache).window("train", 0) is None
        assert remote_set.window("test", 0) is None


def test_the_cache_must_hold_each_shard_of_a_split_that_is_read_in_order(make_set, cache):
    folder = make_set(train=(1,), val=(1, 4))
    largest = max(entry.bytes for entry in Manifest.read(folder).splits["val"])
    with SetServer(folder).running() as server:
        open_set(server.url, ShardCache(cache.folder, largest)).check_room("val")
        small = ShardCache(cache.folder, largest - 1)
        open_set(server.url, small).check_room("test")
        open_set(str(folder), small).check_room("val")
        with pytest.raises(ConfigError, match=rf"val shards of {server.url}, .*; set data.cache_bytes to {largest} or"):
            open_set(server.url, small).check_room("val")
