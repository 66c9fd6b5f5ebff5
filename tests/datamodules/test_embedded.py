from __future__ import annotations

import json
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from datamodules import SRITMDataModule, embedded
from datamodules.embedded import PHOTOGRAPHS, embedded_root, embedded_scenes, make_embedded
from datamodules.making import make_set
from datamodules.manifest import Manifest
from datamodules.scenes import read_split
from zoo.errors import DataError

TRAIN = (
    "aristea_wreck_puresky, autoshop_01, dancing_hall, drachenfels_cellar, leadenhall_market, modern_buildings_2, "
    "phalzer_forest_01, sunset"
)


@pytest.fixture
def two_photographs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder of photographs with one to train and one to validate on."""
    folder = tmp_path / "panoramas"
    folder.mkdir()
    listed = json.loads((PHOTOGRAPHS / "panoramas.json").read_text())
    for split in ("train", "val", "test"):
        listed[split] = [entry for entry in listed[split] if entry["scene"] in ("sunset", "circus_arena")]
    (folder / "panoramas.json").write_text(json.dumps(listed))
    for name in ("sunset_1k.exr", "circus_arena_1k.exr"):
        shutil.copyfile(PHOTOGRAPHS / name, folder / name)
    monkeypatch.setattr(embedded, "PHOTOGRAPHS", folder)
    monkeypatch.setattr(embedded, "PATCHES", 3)
    return folder


def test_the_photographs_are_those_of_the_protocol():
    scenes = embedded_scenes()
    assert ", ".join(scene.name for scene in scenes["train"]) == TRAIN
    assert (len(scenes["val"]), len(scenes["test"])) == (7, 7)
    assert {"circus_arena", "rainforest_trail"} < {scene.name for scene in scenes["val"]}
    assert all(scene.licence == "CC0-1.0" for split in scenes.values() for scene in split)


def test_the_data_card_names_every_photograph_with_its_digest():
    card = (PHOTOGRAPHS / "README.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \|.*\| `([0-9a-f]{64})` \|$", card, flags=re.MULTILINE))
    listed = json.loads((PHOTOGRAPHS / "panoramas.json").read_text())
    assert rows == {entry["scene"]: entry["sha256"] for split in ("train", "val", "test") for entry in listed[split]}


def test_the_data_cards_command_makes_the_same_set(two_photographs, tmp_path):
    scenes = read_split(two_photographs / "panoramas.json", [])
    by_hand = make_set(tmp_path / "set", scenes, 2, patches=3)
    assert by_hand == Manifest.read(make_embedded(2))


def test_the_set_is_made_once_where_the_data_module_looks_for_it(two_photographs, home):
    data = SRITMDataModule(crop=[96], batch_size=2)
    data.prepare_data()
    data.setup("fit")
    (folder,) = (home / "shards").iterdir()
    assert folder == embedded_root(2)
    assert re.fullmatch(r"embedded-x2-[0-9a-f]{12}", folder.name)
    assert data.sources == ["sunset", "circus_arena"]
    assert (data.train_samples, len(data.val_dataloader())) == (3, 4)
    assert "--split datamodules/panoramas/panoramas.json --scale 2" in (folder / "README.md").read_text()
    made = (folder / "dataset.json").stat().st_mtime_ns
    data.prepare_data()
    assert (folder / "dataset.json").stat().st_mtime_ns == made
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_the_folders_name_follows_from_scale_and_photographs(two_photographs):
    names = {embedded_root(scale).name for scale in (1, 2, 4)}
    table = two_photographs / "panoramas.json"
    table.write_text(table.read_text().replace("sunset", "sundown"))
    names.add(embedded_root(2).name)
    assert len(names) == 4


def test_several_processes_at_once_make_one_whole_set(two_photographs):
    with ThreadPoolExecutor(2) as pool:
        roots = list(pool.map(make_embedded, [2, 2]))
    assert roots[0] == roots[1]
    assert Manifest.read(roots[0]).samples("train") == 3
    assert len(list(roots[0].parent.iterdir())) == 1


def test_without_the_photographs_training_is_refused_with_the_way_out(two_photographs):
    (two_photographs / "sunset_1k.exr").unlink()
    data = SRITMDataModule(crop=[96])
    data.prepare_data()  # on one rank only: the error is left to setup, which all ranks call
    with pytest.raises(DataError, match=r"photographs of a source checkout.*tools/make_shards.py"):
        data.setup("fit")


def test_a_changed_photograph_is_refused_by_name(two_photographs):
    with (two_photographs / "sunset_1k.exr").open("ab") as stream:
        stream.write(b"\0")
    with pytest.raises(DataError, match=r"sunset_1k.exr was changed"):
        make_embedded(2)


def test_a_home_that_cant_be_written_is_named(two_photographs, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("SRITM_HOME", str(tmp_path / "file"))
    data = SRITMDataModule(crop=[96])
    data.prepare_data()
    with pytest.raises(DataError, match=r"can't write .*SRITM_HOME"):
        data.setup("fit")
