from __future__ import annotations

import json
from pathlib import Path

import pytest

from datamodules.scenes import Reading, Scene, find_scenes, read_split
from zoo.errors import DataError
from zoo.signal import HDR10_VIDEO


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_files_and_folders_give_scenes_in_the_order_of_their_names(tmp_path):
    touch(*(tmp_path / name for name in ("in/b_1k.hdr", "in/c.EXR", "in/note.txt", "in/deeper/d.exr", "a.exr")))
    scenes = find_scenes([tmp_path / "in", tmp_path / "a.exr", tmp_path / "in" / "c.EXR"])
    assert [scene.name for scene in scenes] == ["a", "b", "c"]
    assert scenes[1] == Scene("b", tmp_path / "in" / "b_1k.hdr")


def test_what_a_folder_holds_beside_its_sources_is_counted_but_hidden_files_arent(tmp_path, caplog):
    caplog.set_level("INFO")
    names = ("a.exr", "._a.exr", ".DS_Store", "b.yuv", "c.YUV", "d.mat", "notes", "in/e.exr", "f.exr/g.exr")
    touch(*(tmp_path / name for name in names))
    assert find_scenes([tmp_path]) == [Scene("a", tmp_path / "a.exr")]
    assert [record.message for record in caplog.records] == [
        f"{tmp_path} gives 1 sources; left out: .mat (1), .yuv (2), folders (2), no ending (1)"
    ]


def test_a_plus_joins_the_sides_of_a_pair_unless_a_file_is_named_so(tmp_path):
    touch(*(tmp_path / name for name in ("a+b.mkv", "c+d.mkv", "sdr.mp4", "hdr/1.png", "sdr/1.png")))
    paths = [
        tmp_path / "a+b.mkv",
        Path(f"{tmp_path}/c+d.mkv+{tmp_path}/sdr.mp4"),
        Path(f"{tmp_path}/hdr+{tmp_path}/sdr"),
    ]
    assert find_scenes(paths) == [
        Scene("a_b", tmp_path / "a+b.mkv"),
        Scene("c_d", tmp_path / "c+d.mkv", sdr_path=tmp_path / "sdr.mp4"),
        Scene("hdr", tmp_path / "hdr", sdr_path=tmp_path / "sdr"),
    ]


def test_a_folder_of_two_folders_of_pairs_is_one_source(tmp_path):
    touch(tmp_path / "tv" / "test_hdr" / "1.png", tmp_path / "tv" / "test_sdr" / "1.png")
    assert find_scenes([tmp_path / "tv"]) == [Scene("tv", tmp_path / "tv")]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent.exr", "absent.exr doesn't exist"),
        ("note.txt+absent.mkv", "/?absent.mkv doesn't exist"),
        ("note.txt", "is no source"),
        (".", "holds no source"),
    ],
)
def test_what_gives_no_scene_is_refused_by_name(tmp_path, monkeypatch, name, message):
    touch(tmp_path / "note.txt", tmp_path / ".hidden.exr")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=message):
        find_scenes([Path(name)])


def test_what_is_said_of_files_goes_with_each_scene(tmp_path):
    touch(tmp_path / "a.mkv")
    reading = Reading(signal=HDR10_VIDEO)
    assert find_scenes([tmp_path / "a.mkv"], reading)[0].reading == reading


def test_raw_video_that_says_nothing_names_what_to_give(tmp_path):
    touch(tmp_path / "a.yuv")
    (scene,) = find_scenes([tmp_path / "a.yuv"])
    with pytest.raises(DataError, match=r"a.yuv: raw video says nothing.*--size WIDTHxHEIGHT and --signal"):
        scene.open()


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
    assert f"2 of 4 sources of {split_file} not found: photos/z_1k.exr, y.exr" in caplog.text


def test_a_split_file_tells_pairs_and_licences_of_their_own(tmp_path, caplog):
    touch(tmp_path / "h.mkv", tmp_path / "s.mkv", tmp_path / "i.mkv")
    entries = [{"file": "h.mkv", "sdr": "s.mkv", "licence": "CC-BY-4.0"}, {"file": "i.mkv", "sdr": "t.mkv"}]
    (tmp_path / "split.json").write_text(json.dumps({"licence": "CC0-1.0", "test": entries}))
    splits = read_split(tmp_path / "split.json", [])
    assert splits["test"] == [Scene("h", tmp_path / "h.mkv", "CC-BY-4.0", tmp_path / "s.mkv")]
    assert "1 of 2 sources" in caplog.text
    assert caplog.text.rstrip().endswith("t.mkv")


def test_a_split_file_of_which_nothing_is_there_is_refused(tmp_path):
    path = tmp_path / "split.json"
    path.write_text('{"train": [{"file": "a.exr"}]}')
    with pytest.raises(DataError, match="none of the 1 sources"):
        read_split(path, [])


def test_lists_of_a_split_file_that_are_no_split_are_named(split_file, tmp_path, caplog):
    content = json.loads(split_file.read_text())
    split_file.write_text(json.dumps({**content, "vall": content.pop("val"), "train_extra": []}))
    assert read_split(split_file, [])["val"] == []
    assert caplog.records[0].message == f"{split_file}: ignored vall, train_extra; the splits are train, val, test"


def test_a_split_file_that_isnt_there_is_one_plain_line(tmp_path):
    with pytest.raises(DataError, match=r"split file .*/split.json can't be read: No such file or directory; name"):
        read_split(tmp_path / "split.json", [])


@pytest.mark.parametrize("content", ["no json", "[]", '{"train": [{"name": "a"}]}', '{"train": 3}'])
def test_a_split_file_of_another_layout_is_refused(tmp_path, content):
    path = tmp_path / "split.json"
    path.write_text(content)
    with pytest.raises(DataError, match=r"split file .* can't be read"):
        read_split(path, [])
