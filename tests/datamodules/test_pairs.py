from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from datamodules.grading import GradedFrame, exposure_key, given_code_units, grade, reduce_sdr
from datamodules.pairs import Pair, PairMaker
from datamodules.presets import preset
from datamodules.sources.frame import Frame, Picture
from datamodules.sources.panorama import Panorama, read_panorama
from tests.panorama_pairs import training_patches, validation_frames
from zoo.color import SDR_CURVES, decode
from zoo.errors import DataError
from zoo.signal import HDR10_VIDEO, SDR_VIDEO, Signal


def synthetic_panorama(height: int = 256, seed: int = 0, scene: str = "noise") -> Panorama:
    """Blobs of coloured light over six stops, which wrap around."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, 3, height // 8, height // 4, generator=generator, dtype=torch.float64)
    return Panorama(2 ** torch.nn.functional.interpolate(coarse, scale_factor=8)[0], scene, f"{scene}.exr")


def codes(array: np.ndarray, signal: Signal) -> Tensor:
    return torch.from_numpy(array.astype(np.float64)).permute(2, 0, 1) / signal.peak


def graded_panorama(panorama: Panorama) -> GradedFrame:
    return grade(Frame(0, Picture(panorama.light)), panorama.source, panoramic=True, curve="reinhard-1000")


@pytest.mark.parametrize("table", ["val_v1_x1", "val_v1_x2", "val_v1_x4", "test_v1_x1", "test_v1_x2", "test_v1_x4"])
def test_frames_have_the_code_sums_and_levels_of_the_reference(root: Path, golden: Path, table: str) -> None:
    rows = json.loads((golden / f"{table}.json").read_text())
    scale = int(table[-1])
    made = 0
    for scene in dict.fromkeys(row["scene"] for row in rows):
        panorama = read_panorama(root / "datamodules" / "panoramas" / f"{scene}_1k.exr")
        assert panorama.scene == scene
        for frame, pair in enumerate(validation_frames(panorama, scale)):
            row = next(row for row in rows if (row["scene"], row["frame"]) == (scene, frame))
            # Rounding ties may part us from the reference in one code of 1e5; in float64 on x86 none does.
            assert abs(int(pair.hdr.sum(dtype=np.int64)) - row["hr_sum"]) <= 1e-5 * pair.hdr.size
            assert abs(int(pair.sdr.sum(dtype=np.int64)) - row["lr_sum"]) <= 1e-5 * pair.sdr.size
            brightest = decode(codes(pair.hdr, HDR10_VIDEO), HDR10_VIDEO).amax(0)
            assert brightest.max().item() == pytest.approx(row["peak"], rel=1e-9)
            assert np.median(brightest) == pytest.approx(row["median_max_rgb"], rel=1e-9)
            made += 1
    assert made == len(rows) == 28


@pytest.mark.parametrize("name", ["circus_arena_1", "rainforest_trail_2", "immenstadter_horn_2"])
def test_frames_equal_the_reference_code_for_code(root: Path, golden: Path, name: str) -> None:
    scene, _, frame = name.rpartition("_")
    panorama = read_panorama(root / "datamodules" / "panoramas" / f"{scene}_1k.exr")
    with np.load(golden / "val_v1_frames.npz") as reference:
        for scale in (2, 4):
            pair = list(validation_frames(panorama, scale))[int(frame)]
            for ours, theirs in ((pair.hdr, reference[f"{name}_hr"]), (pair.sdr, reference[f"{name}_lr_x{scale}"])):
                assert ours.dtype == theirs.dtype
                difference = ours.astype(int) - theirs
                assert np.abs(difference).max() <= 1
                assert np.count_nonzero(difference) <= 1e-5 * difference.size


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_frames_are_squares_of_the_middle_band_from_the_left(scale: int) -> None:
    pairs = list(validation_frames(synthetic_panorama(64), scale))
    assert [pair.meta["crop"] for pair in pairs] == [[16, left, 32, 32] for left in (0, 32, 64, 96)]
    graded = graded_panorama(synthetic_panorama(64))
    band = graded.hdr[:, 16:48].permute(1, 2, 0).numpy()
    assert np.array_equal(np.concatenate([pair.hdr for pair in pairs], axis=1), band)
    assert {pair.sdr.shape for pair in pairs} == {(32 // scale, 32 // scale, 3)}


def test_record_says_how_a_pair_was_made_and_is_json() -> None:
    panorama = synthetic_panorama(64)
    meta = json.loads(json.dumps(next(validation_frames(panorama, 2)).meta))
    assert meta == {
        "source": "noise.exr",
        "scene": "noise",
        "crop": [16, 0, 32, 32],
        "preset": "val-v1",
        "curve": "reinhard-1000",
        "exposure": exposure_key(panorama.light, panoramic=True),
        "seed": None,
        "signals": {"sdr": "bt709-bt1886-ycbcr709-narrow-8", "hdr": "bt2020-pq-ycbcr2020-narrow-10"},
    }
    assert next(training_patches(synthetic_panorama(), 2, seed=7, count=1)).meta["seed"] == 7


@given(st.floats(1e-6, 1e6))
@settings(max_examples=10)
def test_pairs_do_not_depend_on_the_unit_of_scene_light(gain: float) -> None:
    panorama = synthetic_panorama(32)
    brighter = Panorama(gain * panorama.light, panorama.scene, panorama.source)
    for one, other in zip(validation_frames(panorama, 2), validation_frames(brighter, 2), strict=True):
        # A gain rounds each value anew, which may tip a tie.
        assert np.count_nonzero(one.hdr != other.hdr) <= 1
        assert np.count_nonzero(one.sdr != other.sdr) <= 1


def test_negative_scene_light_counts_as_black() -> None:
    panorama = synthetic_panorama(32)
    clipped = panorama.light.clone()
    clipped[:, :, ::3] = 0
    negative = clipped.clone()
    negative[:, :, ::3] = -5
    pairs = [list(validation_frames(Panorama(light, "s", "s.exr"), 1)) for light in (clipped, negative)]
    for one, other in zip(*pairs, strict=True):
        assert np.array_equal(one.hdr, other.hdr)
        assert np.array_equal(one.sdr, other.sdr)


def assert_same(one: Pair, other: Pair) -> None:
    assert np.array_equal(one.sdr, other.sdr)
    assert np.array_equal(one.hdr, other.hdr)
    assert one.meta == other.meta


def test_patch_is_a_function_of_seed_scene_and_index() -> None:
    first = list(training_patches(synthetic_panorama(), 2, seed=3, count=4))
    for one, other in zip(training_patches(synthetic_panorama(), 2, seed=3, count=2), first, strict=False):
        assert_same(one, other)
    crops = {
        tuple(pair.meta["crop"])
        for scene in ("noise", "other")
        for seed in (0, 1)
        for pair in training_patches(synthetic_panorama(scene=scene), 2, seed, 2)
    }
    assert len(crops) == 8


@pytest.mark.parametrize("scale", [2, 4])
def test_patches_of_a_panorama_are_those_of_the_first_release(root: Path, scale: int) -> None:
    """Places and sums of codes as made by the code before there were other sources and presets (commit f3b1b75)."""
    panorama = read_panorama(root / "datamodules" / "panoramas" / "sunset_1k.exr")
    expected = [
        ((277, 912), {2: 2285007, 4: 571248}, 34788196),
        ((150, 250), {2: 2353670, 4: 588387}, 35214160),
        ((71, 591), {2: 2870967, 4: 717769}, 40247068),
        ((162, 390), {2: 2551837, 4: 637978}, 37170455),
    ]
    for pair, (place, sdr_sums, hdr_sum) in zip(training_patches(panorama, scale, 3, 4), expected, strict=True):
        assert pair.meta["crop"] == [*place, 160, 160]
        assert abs(int(pair.sdr.sum(dtype=np.int64)) - sdr_sums[scale]) <= 1e-5 * pair.sdr.size
        assert abs(int(pair.hdr.sum(dtype=np.int64)) - hdr_sum) <= 1e-5 * pair.hdr.size


def test_patches_of_all_scales_show_the_same_places() -> None:
    places = [
        [pair.meta["crop"] for pair in training_patches(synthetic_panorama(), scale, 0, 3)] for scale in (1, 2, 4)
    ]
    assert places[0] == places[1] == places[2]


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_patch_equals_its_place_in_the_panorama(scale: int) -> None:
    """LR pixels equal those of the whole picture, shifted to the patch's grid and wrapped around."""
    graded = graded_panorama(synthetic_panorama())
    code_units = graded.to_code_units(graded.origin)
    wrapped = 0
    for pair in training_patches(synthetic_panorama(), scale, seed=0, count=8):
        top, left, height, width = pair.meta["crop"]
        assert (height, width) == (160, 160)
        assert 256 // 8 <= top <= 256 - 256 // 8 - 160
        assert 0 <= left < 512
        wrapped += left > 512 - 160

        rolled = [plane.roll((-top + 16, -left + 160), (-2, -1)) for plane in (graded.hdr, code_units)]
        hdr = rolled[0][:, 16:176, 160:320].permute(1, 2, 0).numpy()
        assert np.array_equal(pair.hdr, hdr)
        whole = reduce_sdr(rolled[1], scale)
        rows, columns = (slice(start // scale, (start + 160) // scale) for start in (16, 160))
        assert np.array_equal(pair.sdr, whole[:, rows, columns].permute(1, 2, 0).numpy())
    assert wrapped  # at least one patch went over the seam


def half_flat_panorama() -> Panorama:
    """Flat but for a strip that one place in about three meets."""
    panorama = synthetic_panorama()
    light = torch.ones_like(panorama.light)
    light[..., :32] = panorama.light[..., :32]
    return Panorama(light, "half_flat", "half_flat.exr")


def test_three_patches_of_four_vary_by_at_least_8_codes() -> None:
    deviations = np.array([pair.hdr[..., 0].std() for pair in training_patches(half_flat_panorama(), 2, 0, 48)])
    assert (deviations[np.arange(48) % 4 != 0] >= 8).all()
    assert (deviations[::4] < 8).any()


def test_flat_panorama_still_gives_patches() -> None:
    flat = Panorama(torch.ones(3, 256, 512, dtype=torch.float64), "flat", "flat.exr")
    pairs = list(training_patches(flat, 2, 0, 3))
    assert [pair.hdr.shape for pair in pairs] == 3 * [(160, 160, 3)]


def test_panorama_too_low_for_a_patch_is_refused_with_the_size_needed() -> None:
    with pytest.raises(DataError, match=r"416x208 is too small for training patches of 160x160.* at least 432x216"):
        next(training_patches(synthetic_panorama(208), 2, 0, 1))
    assert next(training_patches(synthetic_panorama(216), 2, 0, 1)).hdr.shape == (160, 160, 3)


def test_black_panorama_is_refused_by_name() -> None:
    black = Panorama(torch.zeros(3, 32, 64, dtype=torch.float64), "night", "night.exr")
    with pytest.raises(DataError, match=r"night\.exr: black between 45 degrees"):
        next(validation_frames(black, 2))


PQ_RGB = Signal.parse("bt2020-pq-rgb-full-16")


def blobs(height: int, width: int, low: float = 0.2, high: float = 0.7, seed: int = 0) -> Tensor:
    """Soft blobs of colour, ``(3, height, width)``."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, height // 24 + 1, width // 24 + 1, generator=generator, dtype=torch.float64)
    smooth = torch.nn.functional.interpolate(coarse, scale_factor=24, mode="bilinear")
    return low + (high - low) * smooth[0, :, :height, :width]


def maker(name: str = "val-v1", scale: int = 2, seed: int = 0, scene: str = "film", **options: Any) -> PairMaker:
    return PairMaker(preset(name), scale, seed, scene, f"{scene}.mp4", panoramic=False, **options)


def graded_frame(height: int = 240, width: int = 320, number: int = 0, **meta: Any) -> Frame:
    return Frame(number, Picture(blobs(height, width), PQ_RGB), meta=meta)


def test_record_of_a_graded_frame_names_frame_and_time_and_has_no_exposure() -> None:
    pair = next(maker().training(graded_frame(number=7, time=0.28), 1))
    assert json.loads(json.dumps(pair.meta)) == {
        "source": "film.mp4",
        "scene": "film",
        "crop": pair.meta["crop"],
        "preset": "val-v1",
        "curve": "reinhard-1000",
        "exposure": None,
        "seed": 0,
        "signals": {"sdr": "bt709-bt1886-ycbcr709-narrow-8", "hdr": "bt2020-pq-ycbcr2020-narrow-10"},
        "frame": 7,
        "time": 0.28,
    }


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_patch_of_a_flat_frame_equals_its_place_in_the_whole_frame(scale: int) -> None:
    """At the edges too, where the reduction mirrors the picture; the frame's size is no multiple of anything."""
    frame = graded_frame(173, 203)
    whole = next(maker(scale=scale).validation(Frame(0, replace(frame.hdr, values=frame.hdr.values[:, :172, :200]))))
    graded = grade(frame, "film.mp4", panoramic=False, curve="reinhard-1000")
    lr = reduce_sdr(graded.to_code_units(graded.origin), scale).permute(1, 2, 0).numpy()
    for pair in maker(scale=scale).training(frame, 12):
        top, left, height, width = pair.meta["crop"]
        assert (top % 4, left % 4, height, width) == (0, 0, 160, 160)
        assert np.array_equal(pair.hdr, graded.hdr[:, top : top + 160, left : left + 160].permute(1, 2, 0).numpy())
        rows, columns = (slice(start // scale, (start + 160) // scale) for start in (top, left))
        assert np.array_equal(pair.sdr, lr[rows, columns])
    assert whole.hdr.shape == (172, 200, 3)


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_validation_takes_a_flat_frame_whole_but_for_what_is_left_of_a_multiple_of_4(scale: int) -> None:
    (pair,) = maker(scale=scale).validation(graded_frame(243, 322, number=3))
    assert pair.meta["crop"] == [0, 0, 240, 320]
    assert pair.hdr.shape == (240, 320, 3)
    assert pair.sdr.shape == (240 // scale, 320 // scale, 3)
    assert pair.meta["frame"] == 3
    assert pair.meta["seed"] is None
    with pytest.raises(DataError, match=r"film.mp4: 2x9 is no picture to validate on"):
        next(maker().validation(graded_frame(9, 2)))


def test_hdr10_codes_reach_the_pair_bit_for_bit() -> None:
    codes = (64 + 876 * blobs(200, 200)).round()
    (pair,) = maker().validation(Frame(0, Picture(codes / 1023, HDR10_VIDEO)))
    assert np.array_equal(pair.hdr, codes.permute(1, 2, 0).numpy())


def test_patches_of_frames_differ_and_follow_from_seed_scene_and_frame() -> None:
    again = [next(maker().training(graded_frame(number=5), 1)) for _ in range(2)]
    assert_same(*again)
    others = [
        next(maker(seed=seed, scene=scene).training(graded_frame(number=number), 1)).meta["crop"]
        for seed, scene, number in ((0, "film", 5), (1, "film", 5), (0, "other", 5), (0, "film", 6))
    ]
    assert len({tuple(crop) for crop in others}) == 4


def test_black_bars_are_not_trained_on_and_black_frames_give_nothing() -> None:
    codes = torch.tensor([64.0, 512, 512]).view(3, 1, 1).expand(3, 300, 400).double().clone()
    assert not list(maker().training(Frame(0, Picture(codes / 1023, HDR10_VIDEO)), 4))
    codes[:, 60:240] = (64 + 800 * blobs(180, 400)).round()
    for pair in maker().training(Frame(0, Picture(codes / 1023, HDR10_VIDEO)), 8):
        assert 60 <= pair.meta["crop"][0] <= 80


def test_frame_too_small_for_a_patch_is_refused_with_the_size_needed() -> None:
    with pytest.raises(
        DataError, match=r"film.mp4: 320x159 is too small for training patches of 160x160; use pictures"
    ):
        next(maker().training(graded_frame(159, 320), 1))
    assert next(maker().training(graded_frame(160, 160), 1)).meta["crop"] == [0, 0, 160, 160]


def paired_frame(sdr: Tensor, hdr_size: tuple[int, int], signal: Signal = SDR_VIDEO) -> Frame:
    return Frame(0, Picture(blobs(*hdr_size), PQ_RGB), Picture(sdr, signal))


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_true_pair_of_hr_size_is_reduced_like_any_other(scale: int) -> None:
    codes = (16 + 219 * blobs(176, 200)).round()
    (pair,) = maker(scale=scale).validation(paired_frame(codes / 255, (176, 200)))
    assert np.array_equal(pair.sdr, reduce_sdr(codes, scale).permute(1, 2, 0).numpy())
    assert pair.meta["curve"] == "paired"
    for patch in maker(scale=scale).training(paired_frame(codes / 255, (176, 200)), 3):
        top, left, *_ = (place // scale for place in patch.meta["crop"])
        size = 160 // scale
        assert np.array_equal(patch.sdr, pair.sdr[top : top + size, left : left + size])


@pytest.mark.parametrize("scale", [2, 4])
def test_lr_of_a_true_pair_passes_exactly(scale: int) -> None:
    codes = (16 + 219 * blobs(176 // scale, 200 // scale)).round()
    frame = paired_frame(codes / 255, (176, 200))
    (pair,) = maker(scale=scale).validation(frame)
    expected = codes.permute(1, 2, 0).numpy()
    assert np.array_equal(pair.sdr, expected)
    for patch in maker(scale=scale).training(frame, 4):
        top, left, *_ = (place // scale for place in patch.meta["crop"])
        size = 160 // scale
        assert np.array_equal(patch.sdr, expected[top : top + size, left : left + size])


def test_other_sdr_signals_are_converted_before_they_are_reduced() -> None:
    srgb = Signal.parse("p3d65-srgb-rgb-full-8")
    values = blobs(160, 160)
    (pair,) = maker().validation(paired_frame(values, (160, 160), srgb))
    assert np.array_equal(pair.sdr, reduce_sdr(given_code_units(values, srgb), 2).permute(1, 2, 0).numpy())


def test_sdr_of_another_size_is_refused() -> None:
    for size in ((44, 50), (88, 99)):
        with pytest.raises(
            DataError, match=rf"film.mp4: SDR of frame 0 is {size[1]}x{size[0]}, HDR 200x176; a set of sc"
        ):
            next(maker(scale=2).validation(paired_frame(blobs(*size), (176, 200))))


def test_mixed_draws_curve_and_stops_for_each_scene_and_shot() -> None:
    scene_light = Frame(0, Picture(blobs(160, 160)))

    def drawn(seed: int, scene: str, **meta: Any) -> tuple[str, float]:
        meta = next(maker("mixed", 4, seed, scene).validation(replace(scene_light, meta=meta))).meta
        return meta["curve"], meta["stops"]

    assert drawn(0, "a") == drawn(0, "a")
    assert len({drawn(0, "a"), drawn(1, "a"), drawn(0, "b"), drawn(0, "a", shot=120)}) == 4
    # Sixty draws miss a curve of weight 1/8 with probability 3e-4; the seed is fixed.
    draws = [drawn(0, f"scene{number}") for number in range(60)]
    assert {curve for curve, _ in draws} == set(SDR_CURVES)
    assert all(-1 <= stops <= 1 for _, stops in draws)
    assert max(stops for _, stops in draws) > 0.8
    assert min(stops for _, stops in draws) < -0.8


def test_frames_of_a_scene_share_curve_and_stops() -> None:
    metas = [
        pair.meta for number in range(3) for pair in maker("mixed").training(Frame(number, Picture(blobs(200, 200))), 2)
    ]
    assert len({(meta["curve"], meta["stops"]) for meta in metas}) == 1


@given(scene=st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_drawn_stops_are_in_the_light_of_the_hdr_side(scene: int) -> None:
    light = torch.full((3, 8, 8), 0.3, dtype=torch.float64)
    (pair,) = maker("mixed", 2, 0, f"scene{scene}").validation(Frame(0, Picture(light)))
    shown = decode(codes(pair.hdr, HDR10_VIDEO), HDR10_VIDEO)
    assert shown.mean().item() == pytest.approx(26 * 2 ** pair.meta["stops"], rel=0.02)
    assert pair.meta["seed"] == 0


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_mixed_pairs_are_the_same_again_and_keep_their_hdr_side_clean(scale: int) -> None:
    first, again = (list(maker("mixed", scale).training(graded_frame(), 12)) for _ in range(2))
    clean = list(maker("val-v1", scale).training(graded_frame(), 12))
    for one, other, undegraded in zip(first, again, clean, strict=True):
        assert_same(one, other)
        assert np.array_equal(one.hdr, undegraded.hdr)
        assert one.sdr.shape == (160 // scale, 160 // scale, 3)
    assert len({json.dumps(pair.meta["degradations"]) for pair in first}) > 3
    assert "stops" not in first[0].meta


def test_degradations_leave_a_picture_where_it_was() -> None:
    """Each of 40 patches keeps its level, and fits its clean twin better than that twin moved by a pixel."""
    single = replace(preset("mixed"), curves={"reinhard-1000": 1.0})
    degraded = PairMaker(single, 2, 0, "film", "film.mp4", panoramic=False).training(graded_frame(), 40)
    for one, twin in zip(degraded, maker().training(graded_frame(), 40), strict=True):
        luma, clean = one.sdr[..., 0].astype(float), twin.sdr[..., 0].astype(float)
        error = np.abs(luma - clean)[1:-1, 1:-1].mean()
        assert abs((luma - clean).mean()) < 1
        for axis in (0, 1):
            for step in (-1, 1):
                assert error < np.abs(luma - np.roll(clean, step, axis))[1:-1, 1:-1].mean()


def test_gamut_expansion_is_recorded() -> None:
    pair = next(maker(gamut_expansion=True).validation(Frame(0, Picture(blobs(160, 160)))))
    assert pair.meta["gamut_expansion"] == 0.5
