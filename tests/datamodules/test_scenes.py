from __future__ import annotations

import json
from pathlib import Path

import pytest

from datamodules.scenes import Scene, find_scenes, read_split
from zoo.errors import DataError


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_files_and_folders_give_scenes_in_the_order_of_their_names(tmp_path):
    touch(*(tmp_path / name for name in ("in/b_1k.hdr", "in/c.EXR", "in/note.txt", "in/deeper/d.exr", "a.exr")))
    scenes = find_scenes([tmp_path / "in", tmp_path / "a.exr", tmp_path / "in" / "c.EXR"])
    assert [scene.name for scene in scenes] == ["a", "b", "c"]
    assert scenes[1] == Scene("b", tmp_path / "in" / "b_1k.hdr")


@pytest.mark.parametrize(
    ("name", "message"), [("absent.exr", "doesn't exist"), ("note.txt", "is no panorama"), (".", "holds no panorama")]
)
def test_what_gives_no_scene_is_refused_by_name(tmp_path, name, message):
    touch(tmp_path / "note.txt")
    with pytest.raises(DataError, match=message):
        find_scenes([tmp_path / name])


@pytest.fixture
def split_file(tmp_path: Path) -> Path:
    touch(tmp_path / "list" / "photos" / "a_1k.exr", tmp_path / "wheels" / "b_1k.hdr")
    path = tmp_path / "list" / "split.json"
    splits = {
        "about": "two scenes there, two not",
        "licence": "CC0-1.0",
        "train": [{"file": "photos/z_1k.exr"}, {"file": "photos/a_1k.exr", "scene": "first"}],
        "val": [{"file": "b_1k.hdr", "wheel": "somewhere"}, {"file": "y.exr"}],
    }
    path.write_text(json.dumps(splits))
    return path


def test_a_split_file_is_followed_beside_itself_and_in_the_folders(split_file, tmp_path, caplog):
    assert read_split(split_file, [tmp_path / "wheels"]) == {
        "train": [Scene("first", tmp_path / "list" / "photos" / "a_1k.exr", "CC0-1.0")],
        "val": [Scene("b", tmp_path / "wheels" / "b_1k.hdr", "CC0-1.0")],
        "test": [],
    }
    assert len(caplog.records) == 1
    assert f"2 of 4 panoramas of {split_file} not found: photos/z_1k.exr, y.exr" in caplog.text


def test_a_split_file_of_which_nothing_is_there_is_refused(tmp_path):
    path = tmp_path / "split.json"
    path.write_text('{"train": [{"file": "a.exr"}]}')
    with pytest.raises(DataError, match="none of the 1 panoramas"):
        read_split(path, [])


@pytest.mark.parametrize("content", [None, "no json", "[]", '{"train": [{"name": "a"}]}', '{"train": 3}'])
def test_a_split_file_of_another_layout_is_refused(tmp_path, content):
    path = tmp_path / "split.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match=r"split file .* can't be read"):
        read_split(path, [])
