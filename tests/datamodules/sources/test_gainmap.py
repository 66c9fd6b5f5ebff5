from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datamodules.sources.gainmap import GainMap, find_gain_map
from datamodules.sources.jpeg import JPEG

BASE = np.full((8, 8, 3), 100, np.uint8)
MAP = np.full((4, 4), 100, np.uint8)

ReadGainMap = Callable[..., GainMap]


@pytest.fixture
def read(tmp_path: Path, write_ultrahdr: Callable[..., Path]) -> ReadGainMap:
    """Write a file with metadata and read them back."""

    def read_back(**metadata: object) -> GainMap:
        path = write_ultrahdr(tmp_path / "a.jpg", BASE, MAP, **metadata)
        return find_gain_map(JPEG(path.read_bytes()))[1]

    return read_back


def iso_block(
    channels: list[tuple[float, float, float, float, float]],
    headrooms: tuple[float, float] = (0.0, 2.0),
    flags: int = 0x40,
    denominator: int | None = None,
    version: int = 0,
) -> bytes:
    """Metadata of ISO 21496-1: minimum, maximum, gamma, base and alternate offset of each channel."""
    bottom = denominator or 1 << 16
    flags |= (0x80 if len(channels) == 3 else 0) | (0x08 if denominator else 0)
    block = struct.pack(">HHB", version, 0, flags) + (struct.pack(">I", bottom) if denominator else b"")
    for value, kind in [(headroom, "I") for headroom in headrooms] + [
        pair for channel in channels for pair in zip(channel, "iiIii", strict=True)
    ]:
        block += struct.pack(f">{kind}", round(value * bottom)) + (b"" if denominator else struct.pack(">I", bottom))
    return block


def test_attributes_are_read_with_defaults_for_what_is_absent(read: ReadGainMap, hdrgm: Callable[..., str]) -> None:
    gain_map = read(xmp=hdrgm(GainMapMax=2.5, HDRCapacityMax=3))
    assert gain_map == GainMap(
        minimum=(0.0, 0.0, 0.0),
        maximum=(2.5, 2.5, 2.5),
        gamma=(1.0, 1.0, 1.0),
        base_offset=(1 / 64,) * 3,
        alternate_offset=(1 / 64,) * 3,
        base_headroom=0.0,
        alternate_headroom=3.0,
        in_base_primaries=True,
    )


def test_elements_give_each_channel_its_own_values(read: ReadGainMap, hdrgm: Callable[..., str]) -> None:
    gain_map = read(
        xmp=hdrgm(
            GainMapMin=[-0.1, -0.2, -0.3],
            GainMapMax=[1.0, 2.0, 3.0],
            Gamma=[0.9, 1.0, 1.1],
            OffsetSDR=[0.01, 0.02, 0.03],
            OffsetHDR=0.5,
            HDRCapacityMin=0.25,
            HDRCapacityMax=3.5,
        )
    )
    assert gain_map.minimum == (-0.1, -0.2, -0.3)
    assert gain_map.maximum == (1.0, 2.0, 3.0)
    assert gain_map.gamma == (0.9, 1.0, 1.1)
    assert gain_map.base_offset == (0.01, 0.02, 0.03)
    assert gain_map.alternate_offset == (0.5, 0.5, 0.5)
    assert (gain_map.base_headroom, gain_map.alternate_headroom) == (0.25, 3.5)


eighths = st.integers(1, 40).map(lambda count: count / 8)


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    channels=st.lists(st.tuples(eighths.map(lambda x: -x), *[eighths] * 4), min_size=1, max_size=3).filter(
        lambda channels: len(channels) != 2
    ),
    headroom=eighths,
    denominator=st.sampled_from([None, 8, 1000]),
)
def test_xmp_and_iso_of_the_same_values_read_the_same(
    read: ReadGainMap,
    hdrgm: Callable[..., str],
    channels: list[tuple[float, float, float, float, float]],
    headroom: float,
    denominator: int | None,
) -> None:
    iso = read(iso=iso_block(channels, (0.0, headroom), denominator=denominator))
    names = ("GainMapMin", "GainMapMax", "Gamma", "OffsetSDR", "OffsetHDR")
    values = dict(zip(names, map(list, zip(*channels, strict=True)), strict=True))
    assert iso == read(xmp=hdrgm(**values, HDRCapacityMin=0.0, HDRCapacityMax=headroom))


@pytest.mark.parametrize(("flags", "in_base_primaries"), [(0x40, True), (0x00, False)])
def test_iso_says_on_which_primaries_the_gain_is_applied(
    read: ReadGainMap, flags: int, in_base_primaries: bool
) -> None:
    assert read(iso=iso_block([(0.0, 1.0, 1.0, 0.0, 0.0)], flags=flags)).in_base_primaries is in_base_primaries


def test_iso_comes_before_xmp(read: ReadGainMap, hdrgm: Callable[..., str]) -> None:
    both = read(iso=iso_block([(0.0, 1.5, 1.0, 0.0, 0.0)]), xmp=hdrgm(GainMapMax=9, HDRCapacityMax=9))
    assert both.maximum == (1.5, 1.5, 1.5)


@pytest.mark.parametrize("sample", [0.0, 0.25, 1.0])
def test_gain_follows_the_formats_equation(sample: float) -> None:
    gain_map = GainMap((-1.0,) * 3, (3.0,) * 3, (2.0,) * 3, (0.125,) * 3, (0.0625,) * 3, 0.0, 3.0, True)
    base = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64).view(3, 1, 1)
    light = gain_map.apply(base, torch.full((1, 1, 1), sample, dtype=torch.float64))
    stops = -1.0 + 4.0 * sample**0.5  # between minimum and maximum, by the sample with its gamma undone
    assert light.flatten().tolist() == pytest.approx([(value + 0.125) * 2**stops - 0.0625 for value in (0, 0.5, 1)])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"HDRCapacityMax": 2}, "GainMapMax of its gain map has 0 values"),
        ({"GainMapMax": [1, 2], "HDRCapacityMax": 2}, "GainMapMax of its gain map has 2 values"),
        ({"GainMapMax": 2, "HDRCapacityMax": 2, "Gamma": 0}, "gamma 0; it must be positive"),
        ({"GainMapMax": 2, "HDRCapacityMax": 2, "BaseRenditionIsHDR": "True"}, "base picture is the HDR rendition"),
        ({"GainMapMax": "much", "HDRCapacityMax": 2}, "could not convert string to float"),
    ],
)
def test_xmp_that_cannot_be_used_is_refused(
    read: ReadGainMap, hdrgm: Callable[..., str], values: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        read(xmp=hdrgm(**values))


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (iso_block([(0.0, 1.0, 1.0, 0.0, 0.0)])[:20], "damaged ISO 21496-1"),
        (iso_block([(0.0, 1.0, 1.0, 0.0, 0.0)], version=1), "needs a reader of version 1"),
        (iso_block([(0.0, 1.0, 1.0, 0.0, 0.0)], headrooms=(2.0, 0.0)), "base picture is the HDR rendition"),
        (bytes(5 + 8 * 7), "damaged ISO 21496-1"),  # denominators of 0
    ],
)
def test_iso_that_cannot_be_used_is_refused(read: ReadGainMap, block: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(iso=block)


def test_damaged_xmp_is_refused(read: ReadGainMap) -> None:
    with pytest.raises(ValueError, match="damaged XMP of its gain map"):
        read(xmp="<x http://ns.adobe.com/hdr-gain-map/1.0/")


def test_further_picture_without_metadata_is_no_gain_map(read: ReadGainMap) -> None:
    with pytest.raises(ValueError, match="an ordinary JPEG without gain map"):
        read()
