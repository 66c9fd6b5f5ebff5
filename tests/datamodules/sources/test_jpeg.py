from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from datamodules.sources.jpeg import JPEG, turn_upright

GREY = np.full((4, 6), 128, np.uint8)
DISPLAY_P3 = ((0.5151, 0.2412, -0.0011), (0.2920, 0.6922, 0.0419), (0.1571, 0.0666, 0.7841))
ADOBE_RGB = ((0.6097, 0.3111, 0.0195), (0.2053, 0.6257, 0.0609), (0.1492, 0.0632, 0.7446))


def picture(height: int = 8, width: int = 16) -> np.ndarray:
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([10 * columns, 20 * rows, 100 + columns - rows], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("byte_order", ["<", ">"])
def test_picture_is_turned_as_an_independent_reader_turns_it(
    tmp_path: Path, write_ultrahdr: Callable[..., Path], orientation: int, byte_order: str
) -> None:
    path = write_ultrahdr(tmp_path / "a.jpg", picture(), GREY, orientation=orientation, byte_order=byte_order)
    jpeg = JPEG(path.read_bytes())
    assert jpeg.orientation == orientation
    assert jpeg.size == (8, 16)
    upright = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)  # applies Exif's orientation
    assert np.array_equal(turn_upright(jpeg.decode(), orientation), upright)


@pytest.mark.parametrize("byte_order", ["<", ">"])
@pytest.mark.parametrize("gap", [0, 307])  # a phone leaves 307 bytes between
def test_further_picture_is_found_where_mpf_says(
    tmp_path: Path, write_ultrahdr: Callable[..., Path], byte_order: str, gap: int
) -> None:
    path = write_ultrahdr(tmp_path / "a.jpg", picture(), GREY, byte_order=byte_order, gap=gap, orientation=1)
    (second,) = JPEG(path.read_bytes()).further_pictures
    assert (second.size, second.channels) == ((4, 6), 1)
    assert second.decode().shape == (4, 6, 1)
    assert np.all(second.decode() == 128)


@pytest.mark.parametrize(("colorants", "primaries"), [(None, "bt709"), (DISPLAY_P3, "p3d65"), (ADOBE_RGB, None)])
def test_primaries_follow_from_the_profile(
    tmp_path: Path,
    write_ultrahdr: Callable[..., Path],
    colorants: tuple[tuple[float, ...], ...] | None,
    primaries: str | None,
) -> None:
    path = write_ultrahdr(tmp_path / "a.jpg", picture(), GREY, colorants=colorants)
    assert JPEG(path.read_bytes()).primaries == primaries


@pytest.mark.parametrize(
    ("file", "primaries"),
    [
        ("parking_lot_uhdr.jpg", "p3d65"),
        ("seine_sdr_gainmap_srgb.jpg", "bt709"),
        ("lamps.jpg", "bt709"),  # no profile
    ],
)
def test_primaries_of_reference_photographs(reference: Path, file: str, primaries: str) -> None:
    assert JPEG((reference / "data/ultrahdr" / file).read_bytes()).primaries == primaries


SHORT_HEADER = b"\xff\xd8\xff\xc0\x00\x04\x08\x00\xff\xda\x00\x02"


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xd8", b"\xff\xd8\xff\xe1\x00\x10", b"GIF89a", b"\xff\xd8abcdefgh", SHORT_HEADER]
)
def test_what_is_no_jpeg_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"no JPEG|cut in its header|no marker"):
        _ = JPEG(data).size


def test_file_cut_inside_its_last_picture_is_refused(tmp_path: Path, write_ultrahdr: Callable[..., Path]) -> None:
    data = write_ultrahdr(tmp_path / "a.jpg", picture(), GREY).read_bytes()
    with pytest.raises(ValueError, match="cut before the end of its last picture"):
        _ = JPEG(data[:-1]).further_pictures


def test_an_orientation_of_another_type_counts_as_none() -> None:
    tiff = b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 99, 1, 6, 0, 0)
    segment = b"Exif\0\0" + tiff
    data = b"\xff\xd8\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + b"\xff\xda\x00\x02"
    assert JPEG(data).orientation == 1
