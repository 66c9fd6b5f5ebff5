from __future__ import annotations

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from datamodules.embedded import PHOTOGRAPHS
from datamodules.scenes import Reading
from datamodules.sources import read_panorama
from tests.panorama_pairs import validation_frames
from tests.zoo.evaluation.conftest import SIGNALS, smooth_codes, write_kaist, write_set
from zoo.errors import ConfigError, DataError, SignalError
from zoo.evaluation import EvaluationFrame, EvaluationSet, open_sets
from zoo.evaluation.sets import spread
from zoo.ops import imresize
from zoo.signal import Signal

PQ16 = Signal.parse("bt2020-pq-rgb-full-16")
SDR8 = Signal.parse("bt709-bt1886-rgb-full-8")


def frames_of(opened: EvaluationSet) -> list[EvaluationFrame]:
    frames = []
    for _, found in opened.read(opened.items):
        assert not isinstance(found, DataError), found
        frames += found
    return frames


def test_panoramas_give_the_frames_of_the_protocol() -> None:
    path = PHOTOGRAPHS / "sunrise_1k.exr"
    opened = open_sets([str(path)], scale=4)
    frames = frames_of(opened)
    pairs = list(validation_frames(read_panorama(path), scale=4))
    assert [frame.key for frame in frames] == [f"sunrise-{number}" for number in range(4)]
    assert {frame.scene for frame in frames} == {"sunrise"}
    for frame, pair in zip(frames, pairs, strict=True):
        assert torch.equal((frame.sdr * 255).round(), torch.from_numpy(pair.sdr).permute(2, 0, 1).float())
        assert torch.equal((frame.hdr * 1023).round(), torch.from_numpy(pair.hdr.astype(np.float32)).permute(2, 0, 1))


def test_shards_give_their_samples(shards: Path) -> None:
    opened = open_sets([str(shards)])
    frames = frames_of(opened)
    assert opened.scale == 2
    assert [(frame.key, frame.scene) for frame in frames[:3]] == [
        ("scene0-00000", "scene0"),
        ("scene0-00001", "scene0"),
        ("scene1-00000", "scene1"),
    ]
    assert torch.equal(
        (frames[1].hdr * 1023).round(), torch.from_numpy(smooth_codes(1, 16, 32, 64, 700)).permute(2, 0, 1).float()
    )


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_kaist_frames_of_full_size_are_reduced_and_not_rounded(kaist: str, scale: int) -> None:
    frame = frames_of(open_sets([kaist], scale=scale))[1]
    codes = torch.from_numpy(smooth_codes(1, 32, 48, 16, 235)).permute(2, 0, 1).float() / 255
    assert torch.equal(frame.sdr, codes if scale == 1 else imresize(codes, 1 / scale))
    assert (scale == 1) == torch.equal(frame.sdr * 255, (frame.sdr * 255).round())
    assert frame.hdr.shape == (3, 32, 48)


def test_kaist_frames_that_come_small_stay_as_they_are(tmp_path: Path) -> None:
    frame = frames_of(open_sets([write_kaist(tmp_path, sdr_scale=4)], scale=4))[0]
    assert torch.equal((255 * frame.sdr).round(), 255 * frame.sdr)
    assert frame.sdr.shape == (3, 8, 12)


def test_pictures_of_a_folder_stand_for_themselves(folder_of_pairs: Path) -> None:
    opened = open_sets([str(folder_of_pairs)], scale=1, reading=Reading(PQ16, SDR8))
    assert len({frame.scene for frame in frames_of(opened)}) == 3


def test_a_split_file_may_have_splits_of_its_own(tmp_path: Path) -> None:
    entry = {"file": str(PHOTOGRAPHS / "sunrise_1k.exr"), "scene": "morning"}
    (tmp_path / "split.json").write_text(json.dumps({"about": "", "mine": [entry], "test": []}))
    opened = open_sets([str(tmp_path / "split.json")], ["mine"])
    assert opened.items[0].name == "morning-00000"
    assert opened.name.endswith("split.json (mine)")
    with pytest.raises(ConfigError, match="has no --split theirs; it has mine, test"):
        open_sets([str(tmp_path / "split.json")], ["theirs"])


def test_a_source_of_a_split_that_is_gone_is_no_smaller_split(tmp_path: Path) -> None:
    there = {"file": str(PHOTOGRAPHS / "sunrise_1k.exr"), "scene": "sunrise"}
    split = tmp_path / "split.json"
    split.write_text(json.dumps({"test": [there, {"file": "gone.exr", "scene": "gone"}], "empty": []}))
    opened = open_sets([str(split)])
    assert [item.name for item in opened.items] == ["sunrise-00000", "gone-00000"]
    assert isinstance(dict(opened.read(opened.items[1:]))[opened.items[1]], DataError)
    with pytest.raises(ConfigError, match="holds nothing under --split empty"):
        open_sets([str(split)], ["empty"])


def test_several_sets_are_one_after_the_other(shards: Path, kaist: str) -> None:
    opened = open_sets([str(shards), kaist], scale=2)
    assert [item.name for item in opened.items] == [f"1/test-{i:05d}" for i in range(4)] + [
        f"2/testset_HDR-{i:05d}" for i in range(3)
    ]
    assert len(frames_of(opened)) == 7


def test_the_digest_follows_from_the_data(kaist: str, tmp_path: Path) -> None:
    first = open_sets([kaist]).digest
    assert open_sets([kaist]).digest == first
    assert open_sets([kaist], scale=4).digest != first
    write_kaist(tmp_path, frames=4)
    assert open_sets([kaist]).digest != first


def test_a_limit_takes_frames_from_all_of_the_set(kaist: str, tmp_path: Path) -> None:
    write_kaist(tmp_path, frames=9)
    items = open_sets([kaist]).items
    assert [item.number for item in spread(items, 3)] == [1, 4, 7]
    assert spread(items, 20) == items


def test_what_follows_a_damaged_picture_is_read(folder_of_pairs: Path) -> None:
    picture = folder_of_pairs / "test_hdr" / "001.png"
    picture.write_bytes(picture.read_bytes()[:-60])
    opened = open_sets([str(folder_of_pairs)], scale=1, reading=Reading(PQ16, SDR8))
    found = [found for _, found in opened.read(opened.items)]
    assert [isinstance(one, DataError) for one in found] == [False, True, False]
    assert "001.png" in str(found[1])


def test_what_follows_a_damaged_source_is_read(tmp_path: Path) -> None:
    (tmp_path / "light").mkdir()
    (tmp_path / "light" / "broken.exr").write_bytes(b"v/1\x01 and no more")
    (tmp_path / "light" / "sunrise_1k.exr").write_bytes((PHOTOGRAPHS / "sunrise_1k.exr").read_bytes())
    opened = open_sets([str(tmp_path / "light")])
    found = [found for _, found in opened.read(opened.items)]
    assert [isinstance(one, DataError) for one in found] == [True, False]


def test_a_shard_of_other_bytes_gives_no_frame_and_the_others_do(tmp_path: Path) -> None:
    """A changed code looks like any other, even to a cached index: size and time are as they were."""
    folder = write_set(tmp_path / "shards", SIGNALS, shards=2)
    frames_of(open_sets([str(folder)]))
    shard = folder / "test-0.tar"
    before, content = shard.stat(), bytearray(shard.read_bytes())
    content[content.index(smooth_codes(0, 16, 32, 64, 700).astype("<u2").tobytes()) + 100] ^= 1
    shard.write_bytes(content)
    os.utime(shard, ns=(before.st_atime_ns, before.st_mtime_ns))
    opened = open_sets([str(folder)])
    found = [found for _, found in opened.read(opened.items)]
    assert [isinstance(one, DataError) for one in found] == [True, True, False, False]
    assert "test-0.tar has SHA-256 " in str(found[0])
    shard.write_bytes(content[:-1000])
    opened = open_sets([str(folder)])
    assert "bytes, dataset.json says" in str(dict(opened.read(opened.items[:1]))[opened.items[0]])
    shard.unlink()
    opened = open_sets([str(folder)])
    assert [isinstance(one, DataError) for _, one in opened.read(opened.items)] == [True, True, False, False]


def test_a_sample_of_another_scale_is_left_out(tmp_path: Path) -> None:
    opened = open_sets([str(write_set(tmp_path / "odd", SIGNALS, odd=1))])
    found = [found for _, found in opened.read(opened.items)]
    assert [isinstance(one, DataError) for one in found] == [False, True, False, False]
    assert "is no pair of x2" in str(found[1])


def test_a_pair_of_another_size_is_left_out(folder_of_pairs: Path) -> None:
    for number, size in ((0, (8, 12)), (1, (16, 12))):
        codes = smooth_codes(number, *size, 0, 255).astype(np.uint8)
        assert cv2.imwrite(str(folder_of_pairs / "test_sdr" / f"{number:03d}.png"), codes)
    opened = open_sets([str(folder_of_pairs)], scale=1, reading=Reading(PQ16, SDR8))
    found = [found for _, found in opened.read(opened.items)]
    assert [isinstance(one, DataError) for one in found] == [True, True, False]
    assert "SDR of frame 0 is 12x8, HDR 24x16, which is no pair of x1" in str(found[0])
    assert "001.png: 12x16 is not 1, 1/2 or 1/4 of 24x16" in str(found[1])


def test_frames_that_are_cut_are_said_to_be(folder_of_pairs: Path) -> None:
    flat = open_sets([str(folder_of_pairs)], scale=1, reading=Reading(PQ16, SDR8))
    assert "frames are cut to multiples of 4" in flat.facts["input"]
    assert "cut" not in open_sets([str(PHOTOGRAPHS / "sunrise_1k.exr")]).facts["input"]


def test_what_is_named_twice_is_not_scored_twice(shards: Path) -> None:
    with pytest.raises(ConfigError, match=r"shards \(test\) is there twice"):
        open_sets([str(shards), f"{shards}/"])
    with pytest.raises(ConfigError, match=r"shards \(test\) is there twice; name each set and each --split once"):
        open_sets([str(shards)], ["test", "test"])


def test_frames_of_several_sets_have_keys_of_their_own(shards: Path, tmp_path: Path) -> None:
    other = write_set(tmp_path / "other", SIGNALS, samples=2)
    keys = [frame.key for frame in frames_of(open_sets([str(shards), str(other)]))]
    assert keys[0] == "1/scene0-00000"
    assert keys[-1] == "2/scene0-00001"
    assert len(set(keys)) == 6


@pytest.mark.parametrize(
    ("signals", "said"),
    [
        ({"sdr": SIGNALS["sdr"]}, "doesn't say which signal its hdr side is on"),
        ({**SIGNALS, "sdr": SIGNALS["hdr"]}, "its sdr side is on bt2020-pq-.*, a network wants bt709-bt1886-"),
    ],
)
def test_shards_on_other_signals_are_refused(tmp_path: Path, signals: dict[str, str], said: str) -> None:
    with pytest.raises(SignalError, match=said):
        open_sets([str(write_set(tmp_path / "other", signals))])


def test_pictures_without_tags_need_their_signal(folder_of_pairs: Path) -> None:
    with pytest.raises(DataError, match=r"doesn't say its primaries.* say what it is, e.g. --signal"):
        open_sets([str(folder_of_pairs)])


def test_hdr_that_stands_for_sdr_is_refused(folder_of_pairs: Path) -> None:
    sides = f"{folder_of_pairs / 'test_hdr'}+{folder_of_pairs / 'test_hdr'}"
    with pytest.raises(DataError, match=r"is HDR .*, but stands for the SDR side"):
        open_sets([sides], reading=Reading(PQ16, PQ16))


def test_a_scale_that_a_set_does_not_have_is_refused(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has scale 2, not 4; give models of x2"):
        open_sets([str(shards)], scale=4)
    opened = open_sets([write_kaist(tmp_path, sdr_scale=4)], scale=2)
    with pytest.raises(ConfigError, match=r"its SDR side is 1/4 of the HDR side, .* take --scale 4"):
        list(opened.read(opened.items))


def test_a_split_that_a_set_does_not_have_is_refused(shards: Path) -> None:
    with pytest.raises(ConfigError, match="has no samples to evaluate on in --split val; it has test"):
        open_sets([str(shards)], ["val"])
    with pytest.raises(ConfigError, match="embedded has no --split final; it has train, val, test"):
        open_sets(["embedded"], ["final"])
