from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import torch
from torch import Tensor

from datamodules.sources import Picture, UltraHDR
from datamodules.sources.jpeg import turn_upright
from zoo.color import convert_primaries, decode, srgb_decode
from zoo.errors import DataError

DISPLAY_P3 = ((0.5151, 0.2412, -0.0011), (0.2920, 0.6922, 0.0419), (0.1571, 0.0666, 0.7841))
BT2020 = ((0.6735, 0.2790, -0.0019), (0.1657, 0.6753, 0.0300), (0.1251, 0.0457, 0.7969))
ADOBE_RGB = ((0.6097, 0.3111, 0.0195), (0.2053, 0.6257, 0.0609), (0.1492, 0.0632, 0.7446))


def picture(height: int = 16, width: int = 24) -> np.ndarray:
    rows, columns = np.mgrid[0:height, 0:width]
    return (
        np.stack([60 + 8 * columns, 80 + 10 * rows, 120 + 3 * (columns - rows)], axis=-1).clip(0, 255).astype(np.uint8)
    )


def light(picture: Picture, primaries: str) -> Tensor:
    """Light of a picture on primaries, 1 at white of 203 cd/m²."""
    assert picture.signal is not None
    return convert_primaries(decode(picture.values, picture.signal), picture.signal.primaries, primaries) / 203


@pytest.mark.parametrize(("colorants", "primaries"), [(None, "bt709"), (DISPLAY_P3, "p3d65")])
def test_flat_map_brightens_every_pixel_by_its_stops(
    tmp_path: Path,
    write_ultrahdr: Callable[..., Path],
    hdrgm: Callable[..., str],
    colorants: tuple[tuple[float, ...], ...] | None,
    primaries: str,
) -> None:
    xmp = hdrgm(GainMapMin=1, GainMapMax=3, OffsetSDR=0, OffsetHDR=0, HDRCapacityMax=3)
    gain = np.full((4, 6), 255, np.uint8)
    path = write_ultrahdr(tmp_path / "dusk_2k.jpg", picture(), gain, xmp=xmp, colorants=colorants)
    source = pickle.loads(pickle.dumps(UltraHDR(path)))
    assert (source.path, source.scene, source.frame_count, source.size) == (path, "dusk", 1, (16, 24))
    assert not source.panoramic
    assert source.files() == [path]
    (frame,) = source.frames()
    assert frame.sdr is not None
    assert str(frame.sdr.signal) == f"{primaries}-srgb-rgb-full-8"
    assert str(frame.hdr.signal) == "bt2020-pq-rgb-full-16"
    assert frame.hdr.values.dtype == torch.float64
    # R'G'B' codes come as the decoder gives them; quality 100 is within 2 codes of what was written.
    assert np.abs((frame.sdr.values * 255).permute(1, 2, 0).numpy() - picture()).max() <= 2
    expected = 8 * srgb_decode(frame.sdr.values)
    torch.testing.assert_close(light(frame.hdr, primaries), expected, rtol=1e-6, atol=1e-6)


def test_hdr_side_holds_what_16_bits_would_round_away(
    tmp_path: Path, write_ultrahdr: Callable[..., Path], hdrgm: Callable[..., str]
) -> None:
    xmp = hdrgm(GainMapMax=2, HDRCapacityMax=2)
    source = UltraHDR(write_ultrahdr(tmp_path / "a.jpg", picture(), picture()[..., 0], xmp=xmp))
    codes = 65535 * next(source.frames()).hdr.values
    assert (codes - codes.round()).abs().max() > 0.4


@pytest.mark.parametrize("orientation", [3, 6, 7])
def test_both_sides_are_turned_upright(
    tmp_path: Path, write_ultrahdr: Callable[..., Path], hdrgm: Callable[..., str], orientation: int
) -> None:
    xmp = hdrgm(GainMapMax=2, HDRCapacityMax=2)
    gain = picture()[..., 0]
    stored = UltraHDR(write_ultrahdr(tmp_path / "stored.jpg", picture(), gain, xmp=xmp))
    turned = UltraHDR(write_ultrahdr(tmp_path / "turned.jpg", picture(), gain, xmp=xmp, orientation=orientation))
    assert turned.size == ((24, 16) if orientation >= 5 else (16, 24))
    (expected,), (frame,) = stored.frames(), turned.frames()
    assert frame.sdr is not None
    assert expected.sdr is not None
    for ours, theirs in ((frame.hdr, expected.hdr), (frame.sdr, expected.sdr)):
        upright = turn_upright(theirs.values.permute(1, 2, 0).numpy(), orientation)
        assert ours.values.shape[1:] == turned.size
        assert np.array_equal(ours.values.permute(1, 2, 0).numpy(), upright)


def test_grey_map_serves_metadata_of_three_channels(
    tmp_path: Path, write_ultrahdr: Callable[..., Path], hdrgm: Callable[..., str]
) -> None:
    xmp = hdrgm(GainMapMax=[1, 2, 3], OffsetSDR=0, OffsetHDR=0, HDRCapacityMax=3)
    path = write_ultrahdr(tmp_path / "a.jpg", picture(), np.full((8, 8), 255, np.uint8), xmp=xmp)
    (frame,) = UltraHDR(path).frames()
    assert frame.sdr is not None
    gains = torch.tensor([2.0, 4.0, 8.0]).view(3, 1, 1)
    # Strong unequal gains may leave BT.2020; PQ has no negative light, so only pixels inside are compared.
    ours, expected = light(frame.hdr, "bt709"), gains * srgb_decode(frame.sdr.values)
    inside = convert_primaries(expected, "bt709", "bt2020").amin(0) > 0.01
    assert inside.any()
    torch.testing.assert_close(ours[:, inside], expected[:, inside], rtol=1e-6, atol=1e-6)


def test_iso_gain_is_applied_on_the_maps_primaries_where_it_says_so(
    tmp_path: Path, write_ultrahdr: Callable[..., Path]
) -> None:
    # Headrooms 0 and 3; minimum 0, maximum 1, 2 or 3 stops, gamma 1 and no offsets for each channel; denominators 1.
    def block(flags: int) -> bytes:
        numerators = [0, 3] + [value for maximum in (1, 2, 3) for value in (0, maximum, 1, 0, 0)]
        fractions = b"".join(value.to_bytes(4, "big") + bytes([0, 0, 0, 1]) for value in numerators)
        return bytes([0, 0, 0, 0, 0x80 | flags]) + fractions

    gain = np.full((8, 8), 255, np.uint8)
    gains = torch.tensor([2.0, 4.0, 8.0]).view(3, 1, 1)
    for flags, primaries in ((0x00, "bt2020"), (0x40, "p3d65")):
        path = write_ultrahdr(
            tmp_path / "a.jpg", picture(), gain, iso=block(flags), colorants=DISPLAY_P3, gain_colorants=BT2020
        )
        (frame,) = UltraHDR(path).frames()
        assert frame.sdr is not None
        base = convert_primaries(srgb_decode(frame.sdr.values), "p3d65", primaries)
        torch.testing.assert_close(light(frame.hdr, primaries), gains * base, rtol=1e-6, atol=1e-5)


def stops(ours: Tensor, theirs: np.ndarray) -> Tensor:
    """Difference in stops above a thousandth of white."""
    reference = torch.from_numpy(theirs.astype(np.float64)).permute(2, 0, 1)
    return (ours.clamp(min=1e-3).log2() - reference.clamp(min=1e-3).log2()).abs()


def test_photograph_resembles_what_libultrahdr_makes_of_it(reference: Path) -> None:
    path = reference / "data/ultrahdr/lamps.jpg"  # map of a quarter
    (frame,) = UltraHDR(path).frames()
    some = Picture(frame.hdr.values[:, ::8, ::8], frame.hdr.signal)
    difference = stops(light(some, "bt709"), imagecodecs.ultrahdr_decode(path.read_bytes())[::8, ::8, :3])
    # How a map is enlarged isn't laid down: libultrahdr puts its samples elsewhere, which shows at edges.
    assert difference.mean() < 0.015
    assert difference.flatten().kthvalue(int(0.99 * difference.numel())).values < 0.25


def test_iso_file_of_libultrahdr_is_read_as_it_reads_it(tmp_path: Path) -> None:
    rows, columns = np.mgrid[0:64, 0:96] / 96
    linear = np.stack([0.02 + 4 * columns, 0.02 + 3 * rows, 0.02 + columns + rows, np.ones_like(rows)], axis=-1)
    data = imagecodecs.ultrahdr_encode(linear.astype(np.float16))
    (tmp_path / "a.jpg").write_bytes(data)
    source = UltraHDR(tmp_path / "a.jpg")
    (frame,) = source.frames()
    assert frame.sdr is not None
    assert str(frame.sdr.signal) == "p3d65-srgb-rgb-full-8"
    difference = stops(light(frame.hdr, "bt709"), imagecodecs.ultrahdr_decode(data)[..., :3])
    assert difference.mean() < 0.01  # half floats, and colours at the rim of the gamut


@pytest.mark.parametrize(
    ("file", "size", "peak"),
    [
        # XMP as elements, three channels: 2^1.278 and offsets of 1/64.
        ("seine_sdr_gainmap_srgb.jpg", (300, 400), 203 * (1.015625 * 2**1.278 - 0.015625)),
        # Its map is larger than the base, its maxima 3.5, 3.6, 3.7.
        ("paris_exif_xmp_gainmap_littleendian.jpg", (302, 403), 203 * 2**3.7),
    ],
)
def test_reference_files_that_libultrahdr_refuses_are_read(
    reference: Path, file: str, size: tuple[int, int], peak: float
) -> None:
    source = UltraHDR(reference / "data/ultrahdr" / file)
    assert source.size == size
    (frame,) = source.frames()
    assert frame.hdr.values.shape == (3, *size)
    highest = 203 * light(frame.hdr, "bt709").max()
    assert 300 < highest <= peak


def test_apples_own_form_is_refused_with_words(reference: Path) -> None:
    with pytest.raises(DataError, match=r"apple_gainmap_new\.jpg: its gain map is in Apple's own form"):
        UltraHDR(reference / "data/ultrahdr/apple_gainmap_new.jpg")


def test_files_that_are_no_pair_are_refused_in_one_line(
    tmp_path: Path, write_ultrahdr: Callable[..., Path], hdrgm: Callable[..., str]
) -> None:
    xmp = hdrgm(GainMapMax=2, HDRCapacityMax=2)
    gain = np.full((4, 6), 100, np.uint8)
    whole = write_ultrahdr(tmp_path / "whole.jpg", picture(), gain, xmp=xmp).read_bytes()
    cases = {
        "a JPEG of 1 channels": write_ultrahdr(tmp_path / "grey.jpg", gain, gain, xmp=xmp),
        "its ICC profile is neither": write_ultrahdr(
            tmp_path / "adobe.jpg", picture(), gain, xmp=xmp, colorants=ADOBE_RGB
        ),
        "an ordinary JPEG without gain map": write_ultrahdr(tmp_path / "plain.jpg", picture(), gain),
        "cut before the end": tmp_path / "cut.jpg",
        "no such file": tmp_path / "nowhere.jpg",
    }
    (tmp_path / "cut.jpg").write_bytes(whole[:-100])
    for message, path in cases.items():
        with pytest.raises(DataError, match=rf"{path.name}: {message}") as refusal:
            UltraHDR(path)
        assert "\n" not in str(refusal.value)
