from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import OpenEXR
import pytest
import torch

from datamodules.sources.scene_light import read_scene_light, scene_light_size
from zoo.color import convert_primaries
from zoo.errors import DataError

BT2020 = (0.708, 0.292, 0.17, 0.797, 0.131, 0.046, 0.3127, 0.329)
CIE_XYZ = (1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1 / 3, 1 / 3)  # imaginary primaries, of which two have no luminance


def pixels(height: int = 6, width: int = 10) -> np.ndarray:
    return np.random.default_rng(0).random((height, width, 3), dtype=np.float32) * 4 - 0.1


def planes(rgb: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(rgb.astype(np.float64)).permute(2, 0, 1)


def test_light_on_bt709_comes_as_stored_negative_values_included(
    tmp_path: Path, write_exr: Callable[..., Path]
) -> None:
    rgb = pixels()
    light = read_scene_light(write_exr(tmp_path / "a.exr", {"RGB": rgb}))
    assert torch.equal(light, planes(rgb))
    assert light.min() < 0


def test_light_on_bt2020_comes_on_bt709(tmp_path: Path, write_exr: Callable[..., Path]) -> None:
    rgb = pixels()
    light = read_scene_light(write_exr(tmp_path / "a.exr", {"RGB": rgb}, chromaticities=BT2020))
    # Headers hold float32, so the matrix is good to 1e-7 or so.
    torch.testing.assert_close(light, convert_primaries(planes(rgb), "bt2020", "bt709"), rtol=0, atol=2e-6)


def test_cie_xyz_keeps_its_meaning_whatever_white_its_primaries_imply(
    tmp_path: Path, write_exr: Callable[..., Path]
) -> None:
    # X, Y, Z of white D65 (x 0.3127, y 0.3290). White (1/3, 1/3) of the header must not be adapted to D65.
    d65 = np.array([0.3127 / 0.3290, 1.0, 0.3583 / 0.3290], dtype=np.float32)
    light = read_scene_light(write_exr(tmp_path / "a.exr", {"RGB": np.tile(d65, (4, 4, 1))}, chromaticities=CIE_XYZ))
    torch.testing.assert_close(light, torch.ones_like(light), rtol=0, atol=1e-6)


def test_reference_photograph_in_xyz_equals_its_bt709_version(reference: Path) -> None:
    folder = reference / "data/stills_exr"
    bt709, xyz = read_scene_light(folder / "Rec709.exr"), read_scene_light(folder / "XYZ.exr")
    assert (xyz - bt709).abs().mean() < 2e-4  # both are half floats, of 11 bits


def test_reference_photograph_in_luminance_and_chroma_resembles_its_bt709_version(reference: Path) -> None:
    folder = reference / "data/stills_exr"
    bt709, yc = read_scene_light(folder / "Rec709.exr"), read_scene_light(folder / "Rec709_YC.exr")
    assert bt709.mean() == pytest.approx(0.2528, abs=1e-4)
    assert (yc - bt709).abs().mean() < 0.0085  # what chroma at half size costs


class LuminanceChromaFile:
    """Stands for ``OpenEXR.File``, which reads channels at half size but can't write them."""

    def __init__(self, channels: dict[str, OpenEXR.Channel], header: dict[str, object]) -> None:
        self.stored = channels, header

    def __call__(self, *args: object, **options: object) -> LuminanceChromaFile:
        return self

    def channels(self) -> dict[str, OpenEXR.Channel]:
        return self.stored[0]

    def header(self) -> dict[str, object]:
        return self.stored[1]


@pytest.mark.parametrize("chromaticities", [None, BT2020])
def test_luminance_and_chroma_of_a_single_hue_give_rgb_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chromaticities: tuple[float, ...] | None
) -> None:
    y = np.random.default_rng(0).random((6, 10)).astype(np.float32)
    red, green, blue = 1.2, 0.95, 0.6
    weights = (0.2126, 0.7152, 0.0722) if chromaticities is None else (0.2627, 0.6780, 0.0593)
    luminance = weights[0] * red + weights[1] * green + weights[2] * blue

    def chroma(value: float) -> OpenEXR.Channel:
        return OpenEXR.Channel(np.full((3, 5), (value - luminance) / luminance, np.float32), 2, 2)

    header = {} if chromaticities is None else {"chromaticities": chromaticities}
    channels = {"Y": OpenEXR.Channel(y), "RY": chroma(red), "BY": chroma(blue)}
    monkeypatch.setattr(OpenEXR, "File", LuminanceChromaFile(channels, header))
    (tmp_path / "a.exr").touch()
    expected = torch.from_numpy(y.astype(np.float64)) * torch.tensor([red, green, blue]).view(3, 1, 1) / luminance
    if chromaticities is not None:
        expected = convert_primaries(expected, "bt2020", "bt709")
    light = read_scene_light(tmp_path / "a.exr")
    torch.testing.assert_close(light, expected, rtol=0, atol=2e-4)  # weights of four digits


def test_picture_is_the_data_window(reference: Path) -> None:
    path = reference / "data/stills_exr/t05.exr"  # data 400x300, display 340x260
    assert scene_light_size(path) == (300, 400)
    assert read_scene_light(path).shape == (3, 300, 400)


@pytest.mark.parametrize("suffix", [".exr", ".hdr"])
def test_size_is_told_from_the_header_alone(tmp_path: Path, write_exr: Callable[..., Path], suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    if suffix == ".exr":
        write_exr(path, {"RGB": pixels(60, 100)})
    else:
        cv2.imwrite(str(path), pixels(60, 100).clip(0))
    path.write_bytes(path.read_bytes()[:1000])
    assert scene_light_size(path) == (60, 100)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("AllHalfValues.exr", "6144 of 196608 values are NaN or infinite"),
        ("BrightRingsNanInf.exr", "18 of 1920000 values are NaN or infinite"),
        ("Garden.exr", "has channels Y; convert it to R, G, B"),
        ("WideFloatRange.exr", "has channels G; convert it to R, G, B"),
    ],
)
def test_reference_files_that_hold_no_picture_are_refused(reference: Path, file: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_scene_light(reference / "data/stills_exr" / file)


def test_chroma_lies_at_every_second_pixel_from_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ramp = np.tile(np.arange(5, dtype=np.float32) / 8, (3, 1))
    channels = {
        "Y": OpenEXR.Channel(np.ones((6, 10), np.float32)),
        "RY": OpenEXR.Channel(ramp, 2, 2),
        "BY": OpenEXR.Channel(np.zeros((3, 5), np.float32), 2, 2),
    }
    monkeypatch.setattr(OpenEXR, "File", LuminanceChromaFile(channels, {}))
    (tmp_path / "a.exr").touch()
    red = read_scene_light(tmp_path / "a.exr")[0]
    expected = 1 + torch.tensor([0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4], dtype=torch.float64) / 8
    torch.testing.assert_close(red, expected.expand(6, 10))


@pytest.mark.parametrize(
    ("sampling", "value", "message"),
    [((2, 2), np.inf, "4 of 24 values are NaN or infinite"), ((2, 1), 0.0, "one chroma sample for 2x1 pixels")],
)
def test_chroma_that_cannot_be_used_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sampling: tuple[int, int], value: float, message: str
) -> None:
    chroma = np.zeros((4 // sampling[1], 2), np.float32)
    channels = {
        "Y": OpenEXR.Channel(np.ones((4, 4), np.float32)),
        "RY": OpenEXR.Channel(chroma + np.float32(value), *sampling),
        "BY": OpenEXR.Channel(chroma, *sampling),
    }
    monkeypatch.setattr(OpenEXR, "File", LuminanceChromaFile(channels, {}))
    (tmp_path / "a.exr").touch()
    with pytest.raises(DataError, match=message):
        read_scene_light(tmp_path / "a.exr")


def test_primaries_on_a_line_are_refused(tmp_path: Path, write_exr: Callable[..., Path]) -> None:
    line = (0.1, 0.1, 0.2, 0.2, 0.3, 0.3, 0.3127, 0.329)
    with pytest.raises(DataError, match=r"its primaries and white 0\.1 0\.1 .* span no colours"):
        read_scene_light(write_exr(tmp_path / "a.exr", {"RGB": pixels()}, chromaticities=line))


def test_radiance_rows_from_the_bottom_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.hdr"
    cv2.imwrite(str(path), pixels().clip(0))
    path.write_bytes(path.read_bytes().replace(b"-Y 6 +X 10", b"+Y 6 +X 10"))
    with pytest.raises(DataError, match="rows from the top"):
        scene_light_size(path)
    with pytest.raises(DataError, match="can't be read as Radiance"):
        read_scene_light(path)
