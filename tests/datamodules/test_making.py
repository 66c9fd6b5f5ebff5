from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import OpenEXR
import pytest

from datamodules import making
from datamodules.making import make_set
from datamodules.manifest import Manifest, SourceEntry
from datamodules.pairs import training_patches, validation_frames
from datamodules.reader import ShardReader
from datamodules.scenes import Scene
from datamodules.sources import read_panorama
from zoo.errors import ConfigError, DataError


def write_panorama(path: Path, seed: int = 0, broken: bool = False) -> None:
    """A panorama of 432x216, the smallest of which patches can be cut, with light over eight stops."""
    light = np.exp2(np.random.default_rng(seed).uniform(-4, 4, (216, 432, 3))).astype(np.float16)
    if broken:
        light[100, 100, 1] = np.nan
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    OpenEXR.File(header, {"RGB": light}).write(str(path))


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> list[Scene]:
    folder = tmp_path_factory.mktemp("panoramas")
    found = []
    for seed, name in enumerate(("attic", "beach", "cave")):
        write_panorama(folder / f"{name}.exr", seed)
        found.append(Scene(name, folder / f"{name}.exr", licence="CC0-1.0"))
    return found


def split_keys(folder: Path, split: str, scale: int) -> list[list[str]]:
    """Keys by shard."""
    keys = []
    for entry in Manifest.read(folder).splits[split]:
        reader = ShardReader(folder, [entry], scale)
        keys.append([reader.read(number).key for number in range(len(reader))])
    return keys


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_a_set_holds_the_pairs_of_the_protocol(tmp_path, scenes, scale):
    splits = {"train": scenes[:1], "val": scenes[1:2], "test": scenes[2:]}
    manifest = make_set(tmp_path / "set", splits, scale, seed=5, patches=3)
    assert manifest == Manifest.read(tmp_path / "set")
    expected = {
        "train": training_patches(read_panorama(scenes[0].path), scale, seed=5, count=3),
        "val": validation_frames(read_panorama(scenes[1].path), scale),
        "test": validation_frames(read_panorama(scenes[2].path), scale),
    }
    for split, pairs in expected.items():
        reader = ShardReader(tmp_path / "set", manifest.splits[split], scale)
        for number, pair in enumerate(pairs):
            sample = reader.read(number)
            assert sample.key == f"{splits[split][0].name}-{number:05d}"
            assert np.array_equal(sample.sdr, pair.sdr)
            assert np.array_equal(sample.hdr, pair.hdr)
            assert sample.meta == json.loads(json.dumps(pair.meta))
        assert len(reader) == number + 1


def test_the_manifest_tells_where_samples_come_from(tmp_path, scenes):
    manifest = make_set(tmp_path / "set", {"train": scenes[:2]}, 2, seed=3, patches=1)
    assert (manifest.scale, manifest.preset, manifest.seed, manifest.format_version) == (2, "val-v1", 3, 1)
    assert manifest.sources == tuple(
        SourceEntry(scene.name, "CC0-1.0", hashlib.sha256(scene.path.read_bytes()).hexdigest()) for scene in scenes[:2]
    )
    assert manifest.splits["val"] == manifest.splits["test"] == ()


def test_each_training_shard_mixes_the_scenes_and_frames_stay_in_order(tmp_path, scenes, monkeypatch):
    monkeypatch.setattr(making, "_SHARD_BYTES", 6 * 160 * 1024)
    make_set(tmp_path / "set", {"train": scenes[:2], "val": scenes[2:]}, 4, patches=8)
    shards = split_keys(tmp_path / "set", "train", 4)
    assert len(shards) == 3
    assert max(map(len, shards)) - min(map(len, shards)) <= 1
    assert all(keys[0][:5] != keys[1][:5] for keys in shards)
    assert sorted(chain(*shards)) == sorted(f"{name}-{i:05d}" for name in ("attic", "beach") for i in range(8))
    assert list(chain(*split_keys(tmp_path / "set", "val", 4))) == [f"cave-{i:05d}" for i in range(4)]


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_the_same_input_gives_the_same_bytes_whatever_the_number_of_workers(tmp_path, scenes):
    for name, workers in (("one", 1), ("two", 2)):
        make_set(tmp_path / name, {"train": scenes[:2], "val": scenes[2:]}, 2, patches=4, workers=workers)
    assert files(tmp_path / "one") == files(tmp_path / "two")
    assert files(tmp_path / "one").keys() == {"dataset.json", "train-000000.tar", "val-000000.tar"}


def test_a_seed_chooses_patches_of_its_own(tmp_path, scenes):
    for seed in (0, 1):
        make_set(tmp_path / str(seed), {"train": scenes[:1]}, 2, seed=seed, patches=2)
    assert files(tmp_path / "0")["train-000000.tar"] != files(tmp_path / "1")["train-000000.tar"]


def test_a_panorama_that_cant_be_used_leaves_nothing_behind(tmp_path, scenes):
    write_panorama(tmp_path / "dusk.exr", broken=True)
    with pytest.raises(DataError, match=r"dusk.exr: 1 of .* NaN"):
        make_set(tmp_path / "out" / "set", {"train": [*scenes, Scene("dusk", tmp_path / "dusk.exr")]}, 2, patches=1)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_folder_with_something_in_it_is_refused_and_an_empty_one_is_taken(tmp_path, scenes):
    folder = tmp_path / "set"
    folder.mkdir()
    make_set(folder, {"val": scenes[:1]}, 2)
    before = files(folder)
    with pytest.raises(DataError, match="set exists and isn't an empty folder"):
        make_set(folder, {"val": scenes[1:]}, 2)
    assert files(folder) == before


def test_a_place_that_cant_be_written_is_refused(tmp_path, scenes):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"can't write .*/file/set"):
        make_set(tmp_path / "file" / "set", {"val": scenes[:1]}, 2)


@pytest.mark.parametrize("splits", [("train", "train"), ("train", "val")])
def test_a_scene_is_in_a_set_only_once(tmp_path, scenes, splits: Sequence[str]):
    chosen: dict[str, list[Scene]] = {}
    for split in splits:
        chosen.setdefault(split, []).append(scenes[0])
    with pytest.raises(DataError, match="scene attic is there twice"):
        make_set(tmp_path / "set", chosen, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"preset": "val-v9"}, "preset 'val-v9' is unknown; known: val-v1"),
        ({"scale": 3}, "scale 3 is unknown"),
        ({"seed": -1}, "seed is -1"),
        ({"patches": 0}, "patches is 0"),
        ({"workers": 0}, "workers is 0"),
    ],
)
def test_arguments_that_cant_be_are_refused(tmp_path, scenes, arguments, message):
    with pytest.raises(ConfigError, match=message):
        make_set(tmp_path / "set", {"train": scenes}, **{"scale": 2} | arguments)
