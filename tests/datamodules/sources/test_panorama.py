from __future__ import annotations

import pickle
import re
from pathlib import Path

import cv2
import numpy as np
import OpenEXR
import pytest
import torch

from datamodules.sources import PanoramaSource, read_panorama, scene_name
from zoo.color import convert_primaries
from zoo.errors import DataError

BT709 = (0.64, 0.33, 0.30, 0.60, 0.15, 0.06, 0.3127, 0.3290)


def pixels(height: int = 16, width: int = 32) -> np.ndarray:
    return np.random.default_rng(0).random((height, width, 3), dtype=np.float32) * 4


def write_exr(path: Path, channels: dict[str, np.ndarray], **header: object) -> Path:
    OpenEXR.File({"compression": OpenEXR.ZIP_COMPRESSION, **header}, channels).write(str(path))
    return path


def write_hdr(path: Path, rgb: np.ndarray) -> Path:
    assert cv2.imwrite(str(path), rgb[..., ::-1])
    return path


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("layout", ["RGB", "R, G, B", "RGBA"])
def test_exr_gives_its_values_as_planes_of_float64(tmp_path: Path, dtype: type, layout: str) -> None:
    rgb = pixels().astype(dtype)
    channels = {
        "RGB": {"RGB": rgb},
        "R, G, B": {name: rgb[..., i].copy() for i, name in enumerate("RGB")},
        "RGBA": {"RGBA": np.concatenate([rgb, np.ones_like(rgb[..., :1])], axis=-1)},
    }[layout]
    panorama = read_panorama(write_exr(tmp_path / "hall_1k.exr", channels, chromaticities=BT709))
    assert torch.equal(panorama.light, torch.from_numpy(rgb.astype(np.float64)).permute(2, 0, 1))
    assert panorama.light.is_contiguous()
    assert (panorama.scene, panorama.source) == ("hall", "hall_1k.exr")


def test_radiance_gives_red_first_and_its_values_to_a_256th_of_the_largest_channel(tmp_path: Path) -> None:
    rgb = pixels()
    panorama = read_panorama(write_hdr(tmp_path / "hall.hdr", rgb))
    light = torch.from_numpy(rgb.astype(np.float64)).permute(2, 0, 1)
    assert ((panorama.light - light).abs() <= light.amax(0) / 128).all()
    assert panorama.light.dtype == torch.float64


@pytest.mark.parametrize(
    ("file", "scene"),
    [("venice_1k.exr", "venice"), ("hall_02_16k.hdr", "hall_02"), ("a.b c.exr", "a_b_c"), ("sky-2k.exr", "sky-2k")],
)
def test_scene_is_the_files_stem_without_its_size_or_signs(file: str, scene: str) -> None:
    assert scene_name(Path(file)) == scene


def test_names_in_other_scripts_stay_apart_and_in_ascii() -> None:
    files = ["夜景_1k.exr", "街道_1k.exr", "Улица.exr", "Дворы.exr", "café.exr", "cafè.exr", "\udcff.exr", "\udcfe.exr"]
    scenes = [scene_name(Path(file)) for file in files]
    assert len(set(scenes)) == len(files)
    assert all(re.fullmatch(r"[\w-]+", scene, flags=re.ASCII) for scene in scenes)
    assert scene_name(Path("夜景_2k.hdr")) == scenes[0] == scene_name(Path(scenes[0]))
    assert scene_name(Path("cafe\u0301.exr")) == scene_name(Path("caf\u00e9.exr"))


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.exr: no such file"):
        read_panorama(tmp_path / "nowhere.exr")


def test_other_kinds_of_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "hall.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"an \.exr or \.hdr file, not \.png"):
        read_panorama(tmp_path / "hall.png")


@pytest.mark.parametrize("suffix", [".exr", ".hdr"])
@pytest.mark.parametrize("kept", [0.0, 0.02, 0.5, 0.99])
def test_truncated_file_is_refused_in_one_line(tmp_path: Path, suffix: str, kept: float) -> None:
    path = tmp_path / f"hall{suffix}"
    if suffix == ".exr":
        write_exr(path, {"RGB": pixels(64, 128)})
    else:
        write_hdr(path, pixels(64, 128))
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(DataError, match=r"can't be read as .* is the file whole\?") as refusal:
        read_panorama(path)
    assert "\n" not in str(refusal.value)


def test_other_channels_are_refused_by_name(tmp_path: Path) -> None:
    plane = pixels()[..., 0]
    with pytest.raises(DataError, match="has channels Y, Z; convert it to R, G, B"):
        read_panorama(write_exr(tmp_path / "grey.exr", {"Y": plane, "Z": plane.copy()}))


@pytest.mark.parametrize(("value", "count"), [(np.nan, 1), (np.inf, 2), (-np.inf, 3)])
def test_nan_and_infinity_are_refused_and_counted(tmp_path: Path, value: float, count: int) -> None:
    rgb = pixels()
    rgb.reshape(-1)[100 : 100 + count] = value
    with pytest.raises(DataError, match=f"{count} of 1536 values are NaN or infinite"):
        read_panorama(write_exr(tmp_path / "hall.exr", {"RGB": rgb}))


@pytest.mark.parametrize(("height", "width"), [(16, 24), (16, 33), (32, 16)])
def test_picture_that_is_not_twice_as_wide_as_high_is_refused(tmp_path: Path, height: int, width: int) -> None:
    with pytest.raises(DataError, match=f"{width}x{height} is no panorama; it must be twice as wide as high"):
        read_panorama(write_exr(tmp_path / "still.exr", {"RGB": pixels(height, width)}))


@pytest.mark.parametrize("height", [15, 12])
def test_height_that_is_no_multiple_of_8_is_refused(tmp_path: Path, height: int) -> None:
    with pytest.raises(DataError, match=f"height {height} isn't a multiple of 8"):
        read_panorama(write_exr(tmp_path / "hall.exr", {"RGB": pixels(height, 2 * height)}))


def test_panorama_on_other_primaries_comes_on_bt709(tmp_path: Path) -> None:
    bt2020 = (0.708, 0.292, 0.17, 0.797, 0.131, 0.046, 0.3127, 0.329)
    panorama = read_panorama(write_exr(tmp_path / "hall.exr", {"RGB": pixels()}, chromaticities=bt2020))
    rgb = torch.from_numpy(pixels().astype(np.float64)).permute(2, 0, 1)
    # Headers hold float32, so the matrix is good to 1e-7 or so.
    torch.testing.assert_close(panorama.light, convert_primaries(rgb, "bt2020", "bt709"), rtol=0, atol=2e-6)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"PRIMARIES=0.64 0.33 0.29 0.60 0.15 0.06 0.3333 0.3333\n", "convert it to BT.709 primaries, white D65"),
        (b"PRIMARIES=\n", "convert it to BT.709 primaries, white D65"),
        (b"FORMAT=32-bit_rle_xyze\n", "holds CIE XYZ"),
    ],
)
def test_radiance_of_other_colours_is_refused(tmp_path: Path, line: bytes, message: str) -> None:
    path = write_hdr(tmp_path / "hall.hdr", pixels())
    path.write_bytes(path.read_bytes().replace(b"FORMAT=32-bit_rle_rgbe\n", line, 1))
    with pytest.raises(DataError, match=message):
        read_panorama(path)


@pytest.mark.parametrize(
    "values", [b"0.640 0.330 0.300 0.600 0.150 0.060 0.3127 0.3290", b"0 0 0 0 0 0 0 0"], ids=["stated", "unknown"]
)
def test_radiance_of_bt709_or_unknown_primaries_is_read(tmp_path: Path, values: bytes) -> None:
    path = write_hdr(tmp_path / "hall.hdr", pixels())
    path.write_bytes(path.read_bytes().replace(b"FORMAT=", b"PRIMARIES=" + values + b"\nFORMAT=", 1))
    assert read_panorama(path).light.shape == (3, 16, 32)


def test_source_gives_one_frame_of_scene_light(tmp_path: Path) -> None:
    path = write_exr(tmp_path / "hall_1k.exr", {"RGB": pixels()})
    source = pickle.loads(pickle.dumps(PanoramaSource(path)))
    assert (source.path, source.scene, source.frame_count, source.size) == (path, "hall", 1, (16, 32))
    assert source.panoramic
    assert source.files() == [path]
    (frame,) = source.frames()
    assert frame.number == 0
    assert frame.hdr.signal is None
    assert frame.sdr is None
    assert torch.equal(frame.hdr.values, read_panorama(path).light)


@pytest.mark.parametrize(("start", "stop", "count"), [(0, 1, 1), (0, 5, 1), (1, None, 0), (0, 0, 0)])
def test_source_counts_frames_as_range_does(tmp_path: Path, start: int, stop: int | None, count: int) -> None:
    source = PanoramaSource(write_exr(tmp_path / "hall.exr", {"RGB": pixels()}))
    assert len(list(source.frames(start, stop, 3))) == count


def test_source_refuses_a_flat_picture_when_it_is_made(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="24x16 is no panorama"):
        PanoramaSource(write_exr(tmp_path / "still.exr", {"RGB": pixels(16, 24)}))
