from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from datamodules.sources import (
    SUFFIXES,
    CodedStill,
    KaistMat,
    PairedFolder,
    PanoramaSource,
    SceneLightStill,
    UltraHDR,
    open_source,
)
from zoo.errors import DataError
from zoo.signal import Signal

PQ16 = Signal.parse("bt2020-pq-rgb-full-16")
SDR = Signal.parse("bt709-bt1886-rgb-full-8")


@pytest.mark.parametrize(
    ("height", "width", "panoramic", "kind"),
    [
        (16, 32, None, PanoramaSource),
        (16, 32, True, PanoramaSource),
        (16, 32, False, SceneLightStill),
        (12, 24, None, SceneLightStill),  # no multiple of 8
        (16, 24, None, SceneLightStill),
    ],
)
def test_scene_light_of_two_to_one_is_a_panorama_unless_said_otherwise(
    tmp_path: Path, write_exr: Callable[..., Path], height: int, width: int, panoramic: bool | None, kind: type
) -> None:
    path = write_exr(tmp_path / "a.EXR", {"RGB": np.ones((height, width, 3), np.float32)})
    source = open_source(path, panoramic=panoramic, signal=PQ16)
    assert type(source) is kind
    assert source.panoramic is (kind is PanoramaSource)
    assert source.size == (height, width)


def test_flat_picture_said_to_be_a_panorama_is_refused(tmp_path: Path, write_exr: Callable[..., Path]) -> None:
    path = write_exr(tmp_path / "a.exr", {"RGB": np.ones((16, 24, 3), np.float32)})
    with pytest.raises(DataError, match="24x16 is no panorama"):
        open_source(path, panoramic=True)


def test_png_takes_the_stated_signals(tmp_path: Path, write_png: Callable[..., Path]) -> None:
    hdr = write_png(tmp_path / "hdr.png", np.zeros((8, 8, 3), np.uint16))
    sdr = write_png(tmp_path / "sdr.png", np.zeros((4, 4, 3), np.uint8))
    assert isinstance(open_source(hdr, signal=PQ16), CodedStill)
    frame = next(open_source(hdr, pair=sdr, signal=PQ16, sdr_signal=SDR).frames())
    assert frame.sdr is not None
    assert (frame.hdr.signal, frame.sdr.signal) == (PQ16, SDR)


def test_folders_are_pairs_with_or_without_the_other_side(tmp_path: Path, write_png: Callable[..., Path]) -> None:
    for name, dtype in (("hdr", np.uint16), ("sdr", np.uint8)):
        (tmp_path / name).mkdir()
        write_png(tmp_path / name / "0.png", np.full((8, 8, 3), 200, dtype))
    both = open_source(tmp_path, hdr_range="hdrtv1k")
    apart = open_source(tmp_path / "hdr", pair=tmp_path / "sdr", signal=PQ16, sdr_signal=SDR)
    assert isinstance(both, PairedFolder)
    assert isinstance(apart, PairedFolder)
    assert both.files() == apart.files()
    assert next(both.frames()).hdr.values.mean() == pytest.approx(200 / 65282.5)
    assert next(apart.frames()).hdr.values.mean() == pytest.approx(200 / 65535)


def test_jpeg_is_ultra_hdr(tmp_path: Path, write_ultrahdr: Callable[..., Path], hdrgm: Callable[..., str]) -> None:
    xmp = hdrgm(GainMapMax=2, HDRCapacityMax=2)
    path = write_ultrahdr(tmp_path / "a.JPEG", np.zeros((8, 8, 3), np.uint8), np.zeros((4, 4), np.uint8), xmp=xmp)
    assert isinstance(open_source(path), UltraHDR)


def test_mat_needs_its_other_half(tmp_path: Path) -> None:
    for name, size in (("SDR", 4), ("HDR", 8)):
        with h5py.File(tmp_path / f"{name}.mat", "w") as file:
            file[name] = np.zeros((2, 3, size, size), np.uint16)
    assert isinstance(open_source(tmp_path / "HDR.mat", pair=tmp_path / "SDR.mat"), KaistMat)
    with pytest.raises(DataError, match=r"HDR\.mat: half of a pair; give the SDR file"):
        open_source(tmp_path / "HDR.mat")


def test_scene_light_is_no_side_of_a_pair(tmp_path: Path, write_exr: Callable[..., Path]) -> None:
    path = write_exr(tmp_path / "a.exr", {"RGB": np.ones((4, 4, 3), np.float32)})
    with pytest.raises(DataError, match=r"a\.exr: is no HDR side of a pair"):
        open_source(path, pair=path)


def test_other_kinds_are_refused_with_those_that_are_known(tmp_path: Path) -> None:
    path = tmp_path / "a.bmp"
    path.touch()
    with pytest.raises(DataError, match=r"a\.bmp: no kind of source; these are: \.exr, \.hdr, \.png"):
        open_source(path)
    with pytest.raises(DataError, match="nowhere: no such file or folder"):
        open_source(tmp_path / "nowhere")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_known_ending_leads_to_a_source_that_refuses_rubbish(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"rubbish")
    with pytest.raises(DataError, match=r"a\.\w+: (?!no kind of source)"):
        open_source(path)


@pytest.mark.parametrize("name", ["a.png", "a.avif", "a.mkv", "a.mat"])
def test_range_of_a_folder_is_not_ignored_for_files(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.touch()
    with pytest.raises(DataError, match=rf"{name}: range hdrtv1k is for folders of pairs only"):
        open_source(path, pair=path, hdr_range="hdrtv1k")
