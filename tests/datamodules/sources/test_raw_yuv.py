from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from datamodules.sources.raw_yuv import Layout, RawYUV
from tests.datamodules.sources.video_files import textured
from zoo.color import upsample_chroma
from zoo.errors import DataError

HDR10 = "bt2020-pq-ycbcr2020-narrow-10"


def write_raw(path: Path, count: int = 3, size: tuple[int, int] = (9, 13), chroma: tuple[int, int] = (2, 2)) -> Path:
    frames = textured(count, size, 10, chroma)
    path.write_bytes(b"".join(plane.tobytes() for codes in frames for plane in codes))
    return path


@pytest.mark.parametrize(("layout", "chroma"), [("420", (2, 2)), ("422", (1, 2)), ("444", (1, 1))])
@pytest.mark.parametrize("size", [(9, 13), (8, 12)], ids=["odd", "even"])
def test_frames_hold_the_files_codes(
    tmp_path: Path, layout: Layout, chroma: tuple[int, int], size: tuple[int, int]
) -> None:
    raw = RawYUV(write_raw(tmp_path / "a.yuv", 5, size, chroma), size, HDR10, layout)
    assert (raw.frame_count, raw.size, raw.scene, raw.siting) == (5, size, "a", "topleft")
    assert [frame.number for frame in raw.frames(1, None, 2)] == [1, 3]
    for frame, codes in zip(raw.frames(), textured(5, size, 10, chroma), strict=True):
        planes = [torch.from_numpy(plane.astype(np.float64)) for plane in codes]
        expected = torch.stack(planes) if layout == "444" else upsample_chroma(*planes, "topleft")
        assert torch.equal(frame.hdr.values, expected / 1023)
        assert str(frame.hdr.signal) == HDR10


def test_other_layouts_of_the_same_bytes_are_told_apart_by_size(tmp_path: Path) -> None:
    path = write_raw(tmp_path / "a.yuv")
    with pytest.raises(
        DataError, match=r"1122 bytes are no whole number of frames 13x9 444, 16 bit \(702 bytes each\)"
    ):
        RawYUV(path, (9, 13), HDR10, "444")


@pytest.mark.parametrize("size", [0, 1121, 500])
def test_file_that_is_no_whole_number_of_frames_is_refused(tmp_path: Path, size: int) -> None:
    path = write_raw(tmp_path / "a.yuv")
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(DataError, match=f"{size} bytes are no whole number of frames"):
        RawYUV(path, (9, 13), HDR10)


def test_codes_above_the_depth_are_refused(tmp_path: Path) -> None:
    path = write_raw(tmp_path / "a.yuv")
    path.write_bytes(np.frombuffer(path.read_bytes(), "<u2").astype(">u2").tobytes())
    with pytest.raises(DataError, match=r"frame 0 holds code \d+, above 1023; check the depth"):
        list(RawYUV(path, (9, 13), HDR10).frames())


@pytest.mark.parametrize("signal", ["bt709-bt1886-ycbcr709-narrow-10", "bt2020-pq-ycbcr2020-narrow-8"])
def test_signals_that_are_not_hdr_are_refused(tmp_path: Path, signal: str) -> None:
    with pytest.raises(DataError, match=f"signal {signal} isn't HDR"):
        RawYUV(write_raw(tmp_path / "a.yuv"), (9, 13), signal)


def test_rgb_has_whole_planes(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="R'G'B' is 444"):
        RawYUV(write_raw(tmp_path / "a.yuv"), (9, 13), "bt2020-pq-rgb-full-10", "420")


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.yuv: no such file"):
        RawYUV(tmp_path / "nowhere.yuv", (9, 13), HDR10)


def test_file_that_shrinks_is_an_error_at_its_end(tmp_path: Path) -> None:
    path = write_raw(tmp_path / "a.yuv")
    raw = RawYUV(path, (9, 13), HDR10)
    path.write_bytes(path.read_bytes()[:-4])
    given = []
    with pytest.raises(DataError, match="ends within frame 2"):
        given.extend(frame.number for frame in raw.frames())
    assert given == [0, 1]
