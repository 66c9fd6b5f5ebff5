from __future__ import annotations

import itertools
from contextlib import nullcontext

import numpy as np
import pytest
import torch

from datamodules.grading import grade
from datamodules.jitter import ColourJitter, check_pair, check_preset
from datamodules.shards import Sample
from datamodules.sources.frame import Frame, Picture
from zoo.color import convert_primaries, decode, encode, quantize, reinhard
from zoo.errors import DataError
from zoo.ops.resize import imresize
from zoo.signal import HDR10_VIDEO, SDR_VIDEO, Signal

META = {"curve": "reinhard-1000", "exposure": 0.5}


def pair(light: torch.Tensor, scale: int = 1) -> Sample:
    """A pair as the protocol makes it of display light ``(3, H, W)``, cd/m² on BT.709 primaries."""
    light = light.double()
    hdr = quantize(1023 * encode(convert_primaries(light, "bt709", "bt2020"), HDR10_VIDEO), HDR10_VIDEO)
    sdr = quantize(imresize(255 * encode(reinhard(light), SDR_VIDEO), 1 / scale), SDR_VIDEO)
    return Sample(
        "k",
        sdr.permute(1, 2, 0).numpy().astype(np.uint8),
        hdr.permute(1, 2, 0).numpy().astype(np.uint16),
        META,
    )


def scene(size: int = 32, peak: float = 400.0) -> torch.Tensor:
    """Smooth colours and hard edges, from near black to ``peak``."""
    rng = np.random.default_rng(3)
    smooth = torch.nn.functional.interpolate(torch.from_numpy(rng.random((1, 3, 5, 5))), size, mode="bicubic")[0]
    light = peak * smooth.clamp(0.01, 1) ** 2
    light[:, size // 3 : size // 2] *= 0.2
    return light


def difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.abs(a.astype(int) - b.astype(int))


class Drawn:
    """Stands in for a generator: gives these numbers."""

    def __init__(self, stops: float = 0.0, order: int = 0) -> None:
        self.stops, self.order = stops, order

    def uniform(self, low: float, high: float) -> float:
        assert low <= self.stops <= high
        return self.stops

    def integers(self, high: int) -> int:
        assert high == 6
        return self.order


@pytest.mark.parametrize("scale", [1, 2, 4])
@pytest.mark.parametrize("order", range(6))
def test_a_new_order_of_channels_gives_the_pair_of_the_reordered_scene(order, scale):
    light = scene()
    jittered = ColourJitter(0, hue=True)(pair(light, scale), Drawn(order=order))
    expected = pair(light[list(list(itertools.permutations(range(3)))[order])], scale)
    # What was rounded before is rounded again; a code of 10-bit PQ in BT.2020 weighs more once it is another channel.
    assert difference(jittered.sdr, expected.sdr).max() <= 2
    assert difference(jittered.hdr, expected.hdr).max() <= 8
    assert difference(jittered.hdr, expected.hdr).mean() < 0.8


@pytest.mark.parametrize("stops", [-1.0, -0.4, 0.5, 1.0])
def test_a_gain_gives_the_pair_of_the_brighter_or_darker_scene(stops):
    light = scene(peak=900.0)
    jittered = ColourJitter(1, hue=False)(pair(light), Drawn(stops=stops))
    expected = pair((2**stops * light).clamp(max=1000))
    assert difference(jittered.hdr, expected.hdr).max() <= 3
    # The SDR side knows highlights less well: its curve is flat there.
    assert difference(jittered.sdr, expected.sdr).mean() < 0.6
    assert difference(jittered.sdr, expected.sdr).max() <= 4


@pytest.mark.parametrize("scale", [2, 4])
def test_the_reduction_after_the_curve_costs_a_gain_few_codes_at_edges(scale):
    light = scene(peak=900.0)
    jittered = ColourJitter(1, hue=False)(pair(light, scale), Drawn(stops=-0.5))
    expected = pair(2**-0.5 * light, scale)
    assert difference(jittered.sdr, expected.sdr).mean() < 0.6
    assert difference(jittered.sdr, expected.sdr).max() <= 6


def off_the_curve(sample: Sample) -> float:
    """Mean difference of the SDR codes from those that the curve makes of the HDR codes."""
    hdr = torch.from_numpy(sample.hdr.astype(np.float64)).permute(2, 0, 1) / 1023
    light = convert_primaries(decode(hdr, HDR10_VIDEO), "bt2020", "bt709").clamp(min=0)
    return float(difference(sample.sdr, pair(light).sdr).mean())


@pytest.mark.parametrize("stops", [-1.0, 1.0])
def test_a_jittered_pair_keeps_to_its_curve_even_where_a_gain_goes_beyond_its_peak(stops):
    sample = pair(scene(peak=1000.0))
    jittered = ColourJitter(1, hue=True)(sample, Drawn(stops, order=3))
    assert off_the_curve(jittered) < off_the_curve(sample) + 0.3  # rounded codes are off it already


def test_without_gain_and_order_only_rounding_is_left():
    sample = pair(scene())
    jittered = ColourJitter(1, hue=True)(sample, Drawn())
    assert difference(jittered.sdr, sample.sdr).max() <= 1
    assert difference(jittered.hdr, sample.hdr).max() <= 1
    assert (jittered.sdr.dtype, jittered.hdr.dtype) == (np.uint8, np.uint16)
    assert (jittered.key, jittered.meta) == (sample.key, sample.meta)


def test_views_of_turned_pictures_are_taken():
    sample = pair(scene(), 2)
    turned = sample._replace(sdr=np.rot90(sample.sdr[:, ::-1]), hdr=np.rot90(sample.hdr[:, ::-1]))
    jittered = ColourJitter(1, hue=True)(sample, Drawn(0.5, 4))
    of_turned = ColourJitter(1, hue=True)(turned, Drawn(0.5, 4))
    assert np.array_equal(of_turned.sdr, np.rot90(jittered.sdr[:, ::-1]))
    assert np.array_equal(of_turned.hdr, np.rot90(jittered.hdr[:, ::-1]))


@pytest.mark.parametrize(
    ("meta", "obstacle"),
    [
        ({"curve": "bt2446a", "exposure": 0.5}, "was made by the curve bt2446a"),
        ({}, "was made by the curve None"),
        ({"curve": "reinhard-1000", "exposure": None}, "was made of graded HDR"),
        (META | {"gamut_expansion": 0.5}, "has an expanded gamut"),
    ],
    ids=["another curve", "unknown curve", "graded", "gamut"],
)
def test_pairs_whose_sides_cant_be_changed_alike_are_refused(meta, obstacle):
    sample = pair(scene())._replace(meta=meta)
    with pytest.raises(DataError, match=rf"^sample k {obstacle}: .*data.exposure_jitter to 0"):
        ColourJitter(1, hue=False)(sample, np.random.default_rng(0))


def light_frame(peak: float, signal: Signal | None) -> Frame:
    """Colours of a scene, or of a film on ``signal``."""
    light = scene(64, peak)
    return Frame(0, Picture(light if signal is None else encode(light, signal), signal))


@pytest.mark.parametrize(
    ("frame", "gamut_expansion", "refused"),
    [
        (light_frame(1.0, None), False, False),
        (light_frame(1.0, None), True, True),
        (light_frame(4000.0, HDR10_VIDEO), False, True),
    ],
    ids=["scene light", "expanded gamut", "graded"],
)
def test_the_records_of_grading_tell_what_can_be_jittered(frame, gamut_expansion, refused):
    record = grade(frame, "film", False, "reinhard-1000", gamut_expansion=gamut_expansion).record
    sample = pair(scene())._replace(meta=record)
    with pytest.raises(DataError, match="sample k") if refused else nullcontext():
        check_pair(sample)


def test_sets_of_another_preset_are_refused():
    check_preset("shards/mine", "val-v1")
    with pytest.raises(DataError, match=r"^shards/mine was made by the preset mixed: .*val-v1; set data.exposure_jit"):
        check_preset("shards/mine", "mixed")
