from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from datamodules.inspection import (
    LUMINANCE_EDGES,
    PixelStatistics,
    SideReport,
    draw_samples,
    find_damage,
    inspect_split,
)
from datamodules.manifest import Manifest, SourceEntry
from datamodules.shards import Sample, write_shard
from zoo.color import convert_primaries, encode, quantize
from zoo.errors import DataError, SignalError
from zoo.signal import HDR10_VIDEO, SDR_VIDEO, Signal

SIGNALS = {"sdr": str(SDR_VIDEO), "hdr": str(HDR10_VIDEO)}


def on_signal(light: np.ndarray, primaries: str, signal: Signal) -> np.ndarray:
    """Codes (H, W, 3) of light (H, W, 3) in cd/m² on some primaries."""
    converted = convert_primaries(torch.from_numpy(light).permute(2, 0, 1), primaries, signal.primaries)
    codes = quantize(signal.peak * encode(converted, signal), signal)
    return codes.permute(1, 2, 0).numpy().astype(np.uint8 if signal.depth == 8 else np.uint16)


def grey(*luminance: float) -> np.ndarray:
    """A row of grey pixels."""
    return np.array(luminance)[None, :, None].repeat(3, axis=2)


def measure(codes: np.ndarray, signal: Signal, gamuts: tuple[str, ...] = ()) -> SideReport:
    statistics = PixelStatistics(signal, gamuts)
    statistics.update(codes)
    return statistics.report()


def shares(report: SideReport) -> dict[float, float]:
    """Shares of pixels by upper edge of the bin, without empty bins."""
    return {edge: share for edge, share in zip(LUMINANCE_EDGES, report.luminance, strict=True) if share}


def test_bins_are_stops_with_an_edge_at_sdr_white():
    assert 100 in LUMINANCE_EDGES
    assert np.allclose(np.diff(np.log2(LUMINANCE_EDGES)), 1)


def test_hdr_luminance_falls_into_its_stop():
    report = measure(on_signal(grey(0, 0, 3, 90, 150, 150, 1500, 9999), "bt2020", HDR10_VIDEO), HDR10_VIDEO)
    assert shares(report) == {
        LUMINANCE_EDGES[0]: 0.25,
        3.125: 0.125,
        100: 0.125,
        200: 0.25,
        1600: 0.125,
        12800: 0.125,
    }
    assert report.pixels == 8
    assert report.maximum == pytest.approx(9999, rel=0.01)


def test_sdr_white_is_the_upper_edge_of_its_bin():
    report = measure(on_signal(grey(100, 100, 100, 40), "bt709", SDR_VIDEO), SDR_VIDEO)
    assert shares(report) == {100: 0.75, 50: 0.25}
    assert report.maximum == pytest.approx(100)


def test_luminance_weighs_the_channels_as_the_primaries_do():
    red = np.array([[[1000.0, 0, 0]]])
    assert measure(on_signal(red, "bt2020", HDR10_VIDEO), HDR10_VIDEO).maximum == pytest.approx(262.7, rel=0.02)
    red = np.array([[[100.0, 0, 0]]])
    assert measure(on_signal(red, "bt709", SDR_VIDEO), SDR_VIDEO).maximum == pytest.approx(21.26, rel=0.02)


def test_percentiles_are_within_an_eighth_of_a_stop():
    luminance = np.exp2(np.linspace(0, 9, 4096))
    report = measure(on_signal(grey(*luminance), "bt2020", HDR10_VIDEO), HDR10_VIDEO)
    for percentile, value in report.percentiles.items():
        true = np.percentile(luminance, float(percentile))
        assert true * 0.98 < value < true * 2 ** (1 / 8) * 1.02
    assert report.percentiles["99.9"] <= report.maximum


def test_a_hard_clip_shows_at_the_highest_code():
    report = measure(on_signal(grey(1, 5, 1000, 1000), "bt2020", HDR10_VIDEO), HDR10_VIDEO)
    assert report.codes[1] == (723, 0.5)
    assert report.codes[0][1] == 0.25


def test_codes_at_and_beyond_black_and_white_are_counted():
    codes = np.full((1, 8, 3), 128, np.uint8)
    codes[0, :, 0] = [1, 16, 17, 100, 234, 235, 250, 254]
    report = measure(codes, SDR_VIDEO)
    assert (report.black, report.white) == (2 / 8, 3 / 8)
    assert report.codes == ((1, 1 / 8), (254, 1 / 8))


def test_a_clipped_channel_is_found_below_white_luma():
    light = np.array([[[100, 0, 0], [100, 60, 20], [80, 80, 80], [10, 90, 95.0]]])
    report = measure(on_signal(light, "bt709", SDR_VIDEO), SDR_VIDEO)
    assert (report.white, report.channel_white) == (0, 0.5)


def test_colours_are_counted_outside_the_gamuts_that_lack_them():
    colours = np.array([[[100.0, 0, 0], [0, 100, 0]]])
    codes = np.hstack([on_signal(colours, primaries, HDR10_VIDEO) for primaries in ("bt709", "p3d65", "bt2020")])
    report = measure(codes, HDR10_VIDEO, ("bt709", "p3d65"))
    assert report.outside == {"bt709": pytest.approx(4 / 6), "p3d65": pytest.approx(2 / 6)}


@pytest.mark.parametrize("primaries", ["bt709", "p3d65"])
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_rounding_puts_no_colour_outside_its_own_gamut(primaries, seed):
    draws = np.random.default_rng(seed)
    light = np.exp2(draws.uniform(-6, 10, (16, 64, 3))) * (draws.random((16, 64, 3)) < 0.6)  # many on the border
    report = measure(on_signal(light, primaries, HDR10_VIDEO), HDR10_VIDEO, (primaries,))
    assert report.outside[primaries] == 0


def test_codes_that_are_no_colour_stay_finite():
    codes = np.random.default_rng(0).integers(0, 1024, (64, 64, 3)).astype(np.uint16)
    report = measure(codes, HDR10_VIDEO, ("bt709",))
    assert report.maximum <= 10000.1
    assert sum(report.luminance) == pytest.approx(1)


def test_a_large_picture_is_measured_on_a_grid():
    codes = np.full((600, 500, 3), 512, np.uint16)
    codes[:, 250:, 0] = 700
    report = measure(codes, HDR10_VIDEO)
    assert report.pixels == 200 * 167
    assert report.codes == ((512, pytest.approx(0.5, abs=0.01)), (700, pytest.approx(0.5, abs=0.01)))


@pytest.fixture
def graded_set(tmp_path: Path) -> Path:
    """Two shards of five samples each; the sample's number is the light of its HDR side, half of it its exposure."""
    folder = tmp_path / "graded"
    folder.mkdir()
    entries = []
    for shard in range(2):
        samples = []
        for number in range(5 * shard, 5 * shard + 5):
            hdr = on_signal(np.full((8, 16, 3), 10.0 + number), "bt2020", HDR10_VIDEO)
            sdr = on_signal(np.full((4, 8, 3), 10.0 + number), "bt709", SDR_VIDEO)
            meta = {
                "scene": f"scene{number % 2}",
                "preset": "mixed",
                "curve": "hable" if number else "bt2390",
                "exposure": number / 2 if number else None,
                "degradations": [{"name": "noise"}, {"name": "h264", "crf": number}][: number % 3],
            }
            samples.append(Sample(f"a-{number}", sdr, hdr, meta))
        entries.append(write_shard(folder / f"train-{shard}.tar", samples))
    splits = {"train": tuple(entries), "val": (), "test": ()}
    Manifest(2, SIGNALS, "mixed", 0, (SourceEntry("a", None, "0" * 64),), splits).write(folder)
    return folder


def inspect(folder: Path, count: int):
    manifest = Manifest.read(folder)
    return inspect_split(folder, manifest, "train", manifest.splits["train"], count)


def test_a_split_is_measured_and_its_records_are_counted(graded_set):
    report = inspect(graded_set, 100)
    assert report.samples == 10
    assert report.counts == {
        "size": {"16x8": 10},
        "scene": {"scene0": 5, "scene1": 5},
        "preset": {"mixed": 10},
        "curve": {"hable": 9, "bt2390": 1},
        "degradations": {"none": 4, "noise": 3, "noise+h264": 3},
    }
    assert list(report.counts["curve"]) == ["hable", "bt2390"]
    assert report.spreads == {"exposure": (0.5, 1.5, 2.5, 3.5, 4.5)}
    assert (report.hdr.pixels, report.sdr.pixels) == (1280, 320)
    assert report.hdr.maximum == pytest.approx(19, rel=0.01)
    assert report.hdr.outside == {"bt709": 0, "p3d65": 0}


def test_records_without_curve_or_exposure_are_told_so(make_set):
    report = inspect(make_set(), 3)
    assert report.counts["curve"] == {"not recorded": 3}
    assert report.counts["degradations"] == {"none": 3}
    assert report.spreads == {}


def test_samples_are_drawn_once_each_in_order_and_always_the_same(make_set):
    folder = make_set(train=(5, 3, 7))
    entries = Manifest.read(folder).splits["train"]
    keys = [sample.key for sample in draw_samples(folder, entries, 6)]
    assert len(set(keys)) == 6
    assert keys == sorted(keys) == [sample.key for sample in draw_samples(folder, entries, 6)]
    assert [sample.key for sample in draw_samples(folder, entries, 99)] == [f"train-{n:03d}" for n in range(15)]


def test_a_draw_meets_all_scenes_that_a_shard_deals_in_turn(make_set):
    folder = make_set(train=(40, 40))
    drawn = [int(sample.key[-3:]) % 8 for sample in draw_samples(folder, Manifest.read(folder).splits["train"], 40)]
    assert set(drawn) == set(range(8))


def test_a_whole_set_has_no_damage(make_set):
    folder = make_set()
    assert find_damage(folder, Manifest.read(folder)) == {}


def test_each_damaged_shard_is_named_with_what_is_wrong(make_set):
    folder = make_set(train=(5, 3, 4), val=(4,))
    (folder / "train-0.tar").unlink()
    (folder / "train-2.tar").write_bytes((folder / "train-2.tar").read_bytes()[:-512])
    content = bytearray((folder / "val-0.tar").read_bytes())
    content[1000] ^= 1
    (folder / "val-0.tar").write_bytes(content)
    damage = find_damage(folder, Manifest.read(folder))
    assert sorted(damage) == ["train-0.tar", "train-2.tar", "val-0.tar"]
    assert "train-0.tar is missing" in damage["train-0.tar"]
    assert "bytes, dataset.json says" in damage["train-2.tar"]
    assert "SHA-256" in damage["val-0.tar"]


def test_a_shard_that_shrinks_meanwhile_is_an_error(make_set):
    folder = make_set(train=(5,))
    entries = Manifest.read(folder).splits["train"]
    (folder / "train-0.tar").write_bytes(b"")
    with pytest.raises(DataError, match=r"train-0\.tar changed while it was inspected"):
        list(draw_samples(folder, entries, 5))


def test_signals_that_are_not_known_are_refused(make_set):
    folder = make_set()
    manifest = replace(Manifest.read(folder), signals={"sdr": "bt709", "hdr": str(HDR10_VIDEO)})
    with pytest.raises(SignalError, match="bt709"):
        inspect_split(folder, manifest, "train", manifest.splits["train"], 1)
