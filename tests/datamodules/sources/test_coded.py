from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import cv2
import imagecodecs
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datamodules.sources.coded import check_pair, coded_hdr_signal, coded_sdr_signal, inspect_coded, read_coded
from zoo.color import signal_to_rgb
from zoo.errors import DataError
from zoo.signal import Signal

PQ16 = Signal.parse("bt2020-pq-rgb-full-16")
PQ_TAGS = (9, 16, 0, 1)  # primaries, transfer, matrix, full range of ITU-T H.273
SRGB_TAGS = (1, 13, 0, 1)


def codes(dtype: type = np.uint16, height: int = 5, width: int = 7) -> np.ndarray:
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, (height, width, 3)).astype(dtype)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    dtype=st.sampled_from([np.uint8, np.uint16]),
    seed=st.integers(0, 2**16),
)
def test_png_gives_exactly_the_codes_that_were_written(
    tmp_path: Path, write_png: Callable[..., Path], height: int, width: int, dtype: type, seed: int
) -> None:
    rgb = np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, (height, width, 3)).astype(dtype)
    signal = PQ16 if dtype is np.uint16 else Signal.parse("bt709-srgb-rgb-full-8")
    file = inspect_coded(write_png(tmp_path / "a.png", rgb))
    assert (file.size, file.depth) == ((height, width), signal.depth)
    values = read_coded(file, signal).values
    assert values.dtype == torch.float64
    assert np.array_equal((values * signal.peak).round().permute(1, 2, 0).numpy(), rgb)


def test_alpha_is_left_out(tmp_path: Path, write_png: Callable[..., Path]) -> None:
    rgba = np.dstack([codes(), np.full((5, 7), 9, np.uint16)])
    path = write_png(tmp_path / "a.png", codes())
    assert cv2.imwrite(str(path), rgba[..., [2, 1, 0, 3]])
    values = read_coded(inspect_coded(path), PQ16).values
    assert np.array_equal((values * 65535).round().permute(1, 2, 0).numpy(), rgba[..., :3])


def test_png_with_cicp_names_its_signal(tmp_path: Path, write_png: Callable[..., Path]) -> None:
    file = inspect_coded(write_png(tmp_path / "a.png", codes(), PQ_TAGS))
    assert coded_hdr_signal(file) == PQ16


def test_untagged_png_needs_a_stated_signal(tmp_path: Path, write_png: Callable[..., Path]) -> None:
    file = inspect_coded(write_png(tmp_path / "a.png", codes()))
    with pytest.raises(DataError, match=r"a\.png: doesn't say its primaries, transfer .*--signal"):
        coded_hdr_signal(file)
    assert coded_hdr_signal(file, PQ16) == PQ16


@pytest.mark.parametrize("stated", ["bt709-pq-rgb-full-16", "bt2020-hlg-rgb-full-16", "bt2020-pq-rgb-narrow-16"])
def test_stated_signal_must_not_contradict_the_tags(
    tmp_path: Path, write_png: Callable[..., Path], stated: str
) -> None:
    file = inspect_coded(write_png(tmp_path / "a.png", codes(), PQ_TAGS))
    with pytest.raises(DataError, match=rf"is tagged 9/16/0 full \(H\.273\), which contradicts --signal {stated}"):
        coded_hdr_signal(file, Signal.parse(stated))


def test_8_bit_file_offered_as_hdr_is_refused_whatever_is_said(tmp_path: Path, write_png: Callable[..., Path]) -> None:
    file = inspect_coded(write_png(tmp_path / "a.png", codes(np.uint8), PQ_TAGS))
    for stated in (None, PQ16, Signal.parse("bt2020-pq-rgb-full-8")):
        with pytest.raises(DataError, match="holds 8-bit codes; HDR needs 10 bits or more"):
            coded_hdr_signal(file, stated)


def test_sides_are_told_apart_by_their_transfer(tmp_path: Path, write_png: Callable[..., Path]) -> None:
    hdr = inspect_coded(write_png(tmp_path / "hdr.png", codes(), PQ_TAGS))
    sdr = inspect_coded(write_png(tmp_path / "sdr.png", codes(), SRGB_TAGS))
    assert str(coded_sdr_signal(sdr)) == "bt709-srgb-rgb-full-16"
    with pytest.raises(DataError, match=r"sdr\.png: is SDR \(bt709-srgb-rgb-full-16\)"):
        coded_hdr_signal(sdr)
    with pytest.raises(DataError, match=r"hdr\.png: is HDR \(bt2020-pq-rgb-full-16\).*swapped"):
        coded_sdr_signal(hdr)


def test_10_bit_codes_in_a_16_bit_png_are_read_as_they_are(tmp_path: Path, write_png: Callable[..., Path]) -> None:
    rgb = codes() % 1024
    signal = Signal.parse("bt2020-pq-rgb-full-10")
    file = inspect_coded(write_png(tmp_path / "a.png", rgb))
    values = read_coded(file, coded_hdr_signal(file, signal)).values
    assert np.array_equal((values * 1023).round().permute(1, 2, 0).numpy(), rgb)


def test_codes_beyond_the_stated_depth_are_refused(tmp_path: Path, write_png: Callable[..., Path]) -> None:
    rgb = codes() % 1024
    rgb[2, 3, 1] = 1024
    file = inspect_coded(write_png(tmp_path / "a.png", rgb))
    with pytest.raises(DataError, match="holds code 1024, which a signal of 10 bits doesn't have"):
        read_coded(file, Signal.parse("bt2020-pq-rgb-full-10"))


@pytest.mark.parametrize("stated", ["bt2020-pq-ycbcr2020-narrow-16", "bt2020-pq-ycbcr2020-narrow-10"])
def test_rgb_file_is_not_taken_for_ycbcr(tmp_path: Path, write_png: Callable[..., Path], stated: str) -> None:
    file = inspect_coded(write_png(tmp_path / "a.png", codes()))
    with pytest.raises(DataError, match=f"holds rgb48be, which can't be {stated}"):
        coded_hdr_signal(file, Signal.parse(stated))


def test_grey_png_is_refused(tmp_path: Path, write_png: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match="holds gray16be; convert it"):
        inspect_coded(write_png(tmp_path / "a.png", codes()[..., 0]))


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.6, 0.95])
def test_truncated_png_is_refused_in_one_line(tmp_path: Path, write_png: Callable[..., Path], kept: float) -> None:
    path = write_png(tmp_path / "a.png", codes(height=40, width=40))
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(DataError, match=r"can't be read as PNG or AVIF .* is the file whole\?") as refusal:
        read_coded(inspect_coded(path), PQ16)
    assert "\n" not in str(refusal.value)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.png: no such file"):
        inspect_coded(tmp_path / "nowhere.png")


def write_avif(path: Path, rgb: np.ndarray, depth: int, level: int = 100, **options: object) -> Path:
    path.write_bytes(imagecodecs.avif_encode(rgb, level, bitspersample=depth, speed=9, **options))
    return path


@pytest.mark.parametrize("depth", [10, 12])
def test_lossless_avif_gives_exactly_the_codes_that_were_written(tmp_path: Path, depth: int) -> None:
    rgb = (codes(height=32, width=48) >> (16 - depth)).astype(np.uint16)
    path = write_avif(tmp_path / "a.avif", rgb, depth, pixelformat="444", primaries=9, transfer=18, matrix=0)
    file = inspect_coded(path)
    signal = coded_hdr_signal(file)
    assert str(signal) == f"bt2020-hlg-rgb-full-{depth}"
    values = read_coded(file, signal).values
    assert np.array_equal((values * signal.peak).round().permute(1, 2, 0).numpy(), rgb)


def test_avif_of_420_comes_at_full_resolution_with_luma_as_stored(tmp_path: Path) -> None:
    rgb = np.full((32, 48, 3), (700, 500, 300), np.uint16)
    rgb[:, :5] = (100, 200, 300)
    path = write_avif(tmp_path / "a.avif", rgb, 10, level=95, pixelformat="420", primaries=9, transfer=16, matrix=9)
    file = inspect_coded(path)
    assert file.pixel_format == "yuv420p10le"
    signal = coded_hdr_signal(file)
    values = read_coded(file, signal).values
    assert values.shape == (3, 32, 48)
    with av.open(str(path)) as container:
        plane = next(container.decode(video=0)).planes[0]
        luma = np.frombuffer(memoryview(plane), np.uint16).reshape(32, -1)[:, :48]
    assert np.array_equal((values[0] * 1023).round().numpy(), luma)
    right = (signal_to_rgb(values, signal)[:, :, 12:] * 1023).flatten(1).mean(dim=1)
    torch.testing.assert_close(right, torch.tensor([700.0, 500.0, 300.0], dtype=torch.float64), rtol=0, atol=2)


@pytest.mark.parametrize(
    ("file", "signal", "tolerance"),
    [
        ("avif/seine_hdr_rec2020.avif", "bt2020-pq-ycbcr2020-full-10", 0),
        # The decoder's matrix has coefficients rounded otherwise for BT.601.
        ("avif/seine_hdr_srgb.avif", "bt709-pq-ycbcr601-full-10", 1),
        ("avif/colors_hdr_rec2020.avif", "bt2020-pq-ycbcr2020-full-10", 0),
        ("avif/colors_wcg_hdr_rec2020.avif", "bt2020-pq-ycbcr2020-full-10", 0),
        ("pairs/hdr_cosmos07296_cicp9-16-0_lossless.avif", "bt2020-pq-rgb-full-10", 0),
    ],
)
def test_reference_avif_equals_an_independent_decoder(reference: Path, file: str, signal: str, tolerance: int) -> None:
    path = reference / "data" / file
    coded = inspect_coded(path)
    picture = read_coded(coded, coded_hdr_signal(coded))
    assert str(picture.signal) == signal
    rgb = (1023 * signal_to_rgb(picture.values, picture.signal).clamp(0, 1) + 0.5).floor()
    independent = imagecodecs.avif_decode(path.read_bytes()).astype(np.float64)  # R'G'B' codes, libavif
    assert np.abs(rgb.permute(1, 2, 0).numpy() - independent).max() <= tolerance


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("seine_sdr_gainmap_srgb.avif", "holds 8-bit codes; HDR needs 10 bits or more"),  # its base is SDR
        ("cosmos1650_yuv444_10bpc_p3pq.avif", "unknown matrix 12"),  # derived from the primaries
    ],
)
def test_reference_avif_that_gives_no_hdr_picture_is_refused(reference: Path, file: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        coded_hdr_signal(inspect_coded(reference / "data/avif" / file))


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_pair_whose_sdr_side_is_reduced_is_taken(tmp_path: Path, write_png: Callable[..., Path], scale: int) -> None:
    hdr = inspect_coded(write_png(tmp_path / "hdr.png", codes(height=8, width=16)))
    sdr = inspect_coded(write_png(tmp_path / "sdr.png", codes(height=8 // scale, width=16 // scale)))
    check_pair(hdr, sdr)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (16, 32), (3, 5), (16, 8)])
def test_pair_of_other_sizes_is_refused(
    tmp_path: Path, write_png: Callable[..., Path], height: int, width: int
) -> None:
    hdr = inspect_coded(write_png(tmp_path / "hdr.png", codes(height=8, width=16)))
    sdr = inspect_coded(write_png(tmp_path / "sdr.png", codes(height=height, width=width)))
    with pytest.raises(DataError, match=rf"sdr\.png: {width}x{height} is not 1, 1/2 or 1/4 of 16x8"):
        check_pair(hdr, sdr)
