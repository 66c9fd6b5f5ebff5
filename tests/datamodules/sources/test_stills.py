from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from datamodules.sources import CodedStill, SceneLightStill
from datamodules.sources.scene_light import read_scene_light
from zoo.errors import DataError

PQ_TAGS = (9, 16, 0, 1)  # primaries, transfer, matrix, full range of ITU-T H.273
SRGB_TAGS = (1, 13, 0, 1)


def codes(dtype: type, height: int = 6, width: int = 10) -> np.ndarray:
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, (height, width, 3)).astype(dtype)


def test_still_of_scene_light_is_flat_whatever_its_size(tmp_path: Path, write_exr: Callable[..., Path]) -> None:
    path = write_exr(tmp_path / "a b.exr", {"RGB": np.ones((16, 32, 3), np.float32)})
    source = pickle.loads(pickle.dumps(SceneLightStill(path)))
    assert (source.path, source.scene, source.frame_count, source.size) == (path, "a_b", 1, (16, 32))
    assert not source.panoramic
    assert source.files() == [path]
    (frame,) = source.frames()
    assert (frame.number, frame.hdr.signal, frame.sdr) == (0, None, None)
    assert torch.equal(frame.hdr.values, read_scene_light(path))


def test_truncated_still_of_scene_light_is_refused_when_it_is_read(
    tmp_path: Path, write_exr: Callable[..., Path]
) -> None:
    path = write_exr(tmp_path / "a.exr", {"RGB": np.random.default_rng(0).random((64, 64, 3), dtype=np.float32)})
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(DataError, match=r"a\.exr: can't be read as OpenEXR"):
        list(SceneLightStill(path).frames())


def test_still_of_codes_has_no_sdr_side(tmp_path: Path, write_png: Callable[..., Path]) -> None:
    path = write_png(tmp_path / "hall.png", codes(np.uint16), PQ_TAGS)
    source = pickle.loads(pickle.dumps(CodedStill(path)))
    assert (source.path, source.scene, source.frame_count, source.size) == (path, "hall", 1, (6, 10))
    assert not source.panoramic
    assert source.files() == [path]
    (frame,) = source.frames()
    assert str(frame.hdr.signal) == "bt2020-pq-rgb-full-16"
    assert frame.sdr is None


@pytest.mark.parametrize("scale", [1, 2])
def test_pair_of_stills_has_both_sides(tmp_path: Path, write_png: Callable[..., Path], scale: int) -> None:
    hdr, sdr = codes(np.uint16), codes(np.uint8, 6 // scale, 10 // scale)
    hdr_path = write_png(tmp_path / "hdr.png", hdr, PQ_TAGS)
    sdr_path = write_png(tmp_path / "sdr.png", sdr, SRGB_TAGS)
    source = CodedStill(hdr_path, sdr_path=sdr_path)
    assert source.files() == [hdr_path, sdr_path]
    (frame,) = source.frames()
    assert frame.sdr is not None
    assert str(frame.sdr.signal) == "bt709-srgb-rgb-full-8"
    assert np.array_equal((frame.sdr.values * 255).round().permute(1, 2, 0).numpy(), sdr)
    assert np.array_equal((frame.hdr.values * 65535).round().permute(1, 2, 0).numpy(), hdr)
    assert list(source.frames(1)) == []


@pytest.mark.parametrize("code", [0, 65535])
def test_full_range_still_said_to_be_narrow_is_refused(
    tmp_path: Path, write_png: Callable[..., Path], code: int
) -> None:
    pixels = np.full((10, 10, 3), 30000, np.uint16)
    pixels[0, :2] = code
    narrow, full = (write_png(tmp_path / f"{side}.png", pixels, (9, 16, 0, side)) for side in (0, 1))
    with pytest.raises(DataError, match=r"0\.png: 2 % of the picture lies outside the codes of narrow range"):
        list(CodedStill(narrow).frames())
    assert len(list(CodedStill(full).frames())) == 1


def test_pair_of_other_sizes_is_refused_when_it_is_made(tmp_path: Path, write_png: Callable[..., Path]) -> None:
    hdr_path = write_png(tmp_path / "hdr.png", codes(np.uint16), PQ_TAGS)
    sdr_path = write_png(tmp_path / "sdr.png", codes(np.uint8, 6, 9), SRGB_TAGS)
    with pytest.raises(DataError, match=r"9x6 is not 1, 1/2 or 1/4 of 10x6"):
        CodedStill(hdr_path, sdr_path=sdr_path)


def test_graded_reference_pair_is_read_with_its_tags(reference: Path) -> None:
    folder = reference / "data/pairs"
    source = CodedStill(
        folder / "hdr_cosmos01000_cicp9-16-0_lossless.avif",
        sdr_path=folder / "sdr_cosmos01000_cicp1-13-0_lossless.avif",
    )
    assert source.size == (858, 2048)
    (frame,) = source.frames()
    assert frame.sdr is not None
    assert (str(frame.hdr.signal), str(frame.sdr.signal)) == ("bt2020-pq-rgb-full-10", "bt709-srgb-rgb-full-8")
