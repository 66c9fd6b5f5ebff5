from __future__ import annotations

import json
import math
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from datamodules.pairs import (
    GradedPanorama,
    Pair,
    display_light,
    exposure_key,
    grade,
    hdr_codes,
    reduce_sdr,
    sdr_code_units,
    training_patch,
    training_patches,
    validation_frames,
)
from datamodules.sources import Panorama, read_panorama
from zoo.color import decode, quantize
from zoo.errors import DataError
from zoo.signal import HDR10_VIDEO, SDR_VIDEO, Signal


def synthetic_panorama(height: int = 256, seed: int = 0, scene: str = "noise") -> Panorama:
    """Blobs of coloured light over six stops, which wrap around."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, 3, height // 8, height // 4, generator=generator, dtype=torch.float64)
    return Panorama(2 ** torch.nn.functional.interpolate(coarse, scale_factor=8)[0], scene, f"{scene}.exr")


def codes(array: np.ndarray, signal: Signal) -> Tensor:
    return torch.from_numpy(array.astype(np.float64)).permute(2, 0, 1) / signal.peak


@lru_cache
def graded_noise() -> GradedPanorama:
    return grade(synthetic_panorama())


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
    graded = grade(synthetic_panorama(64))
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
        "exposure": exposure_key(panorama.light),
        "seed": None,
        "signals": {"sdr": "bt709-bt1886-ycbcr709-narrow-8", "hdr": "bt2020-pq-ycbcr2020-narrow-10"},
    }
    assert training_patch(graded_noise(), 2, seed=7, index=0).meta["seed"] == 7


def test_key_of_uniform_light_is_that_light() -> None:
    assert exposure_key(torch.full((3, 64, 128), 0.7, dtype=torch.float64)) == pytest.approx(0.7, rel=1e-12)


def test_key_weighs_rows_of_the_band_by_the_cosine_of_their_elevation() -> None:
    light = torch.ones(3, 8, 16, dtype=torch.float64)
    light[:, 2] = math.e**2  # the band's rows 2..5 lie at elevations 33.75, 11.25, -11.25 and -33.75
    light[:, [0, 1, 6, 7]] = 1e6  # beyond the band
    outer, inner = math.cos(math.radians(33.75)), math.cos(math.radians(11.25))
    assert math.log(exposure_key(light)) == pytest.approx(2 * outer / (2 * outer + 2 * inner), rel=1e-12)


def test_key_holds_black_at_a_ten_thousandth_of_the_mean() -> None:
    light = torch.zeros(3, 8, 16, dtype=torch.float64)
    light[:, :, 0] = 16
    assert exposure_key(light) == pytest.approx(16 ** (1 / 16) * 1e-4 ** (15 / 16), rel=1e-12)


@given(st.floats(1e-6, 1e6))
@settings(max_examples=10)
def test_pairs_do_not_depend_on_the_unit_of_scene_light(gain: float) -> None:
    panorama = synthetic_panorama(32)
    brighter = Panorama(gain * panorama.light, panorama.scene, panorama.source)
    for one, other in zip(validation_frames(panorama, 2), validation_frames(brighter, 2), strict=True):
        # A gain rounds each value anew, which may tip a tie.
        assert np.count_nonzero(one.hdr != other.hdr) <= 1
        assert np.count_nonzero(one.sdr != other.sdr) <= 1


def test_grey_at_the_key_is_shown_at_26_nits() -> None:
    grey = torch.full((3, 2, 2), 0.3, dtype=torch.float64)
    light = display_light(grey, key=0.3)
    torch.testing.assert_close(light, torch.full_like(grey, 26))
    # PQ of 26 cd/m² is 0.3800 (colour-science), Reinhard's curve gives 100 (0.26 1.0026 / 1.26) cd/m² of SDR.
    assert hdr_codes(light)[:, 0, 0].tolist() == [397, 512, 512]
    luma = 16 + 219 * (0.26 * 1.0026 / 1.26) ** (1 / 2.4)
    expected = torch.tensor([luma, 128, 128], dtype=torch.float64)
    torch.testing.assert_close(sdr_code_units(light)[:, 0, 0], expected)


def test_light_far_above_the_key_stays_below_1000_nits() -> None:
    assert display_light(torch.full((3, 1, 1), 1e4, dtype=torch.float64), key=1.0).max() <= 1000


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


def test_reduction_rounds_once_and_at_x1_only_rounds() -> None:
    units = 16 + 200 * torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.equal(reduce_sdr(units, 1), quantize(units, SDR_VIDEO))
    flat = torch.full((3, 16, 16), 99.5, dtype=torch.float64)
    assert torch.equal(reduce_sdr(flat - 1e-9, 2), torch.full((3, 8, 8), 99.0, dtype=torch.float64))


def assert_same(one: Pair, other: Pair) -> None:
    assert np.array_equal(one.sdr, other.sdr)
    assert np.array_equal(one.hdr, other.hdr)
    assert one.meta == other.meta


def test_patch_is_a_function_of_seed_scene_and_index() -> None:
    first = list(training_patches(synthetic_panorama(), 2, seed=3, count=4))
    for index in (3, 1):
        assert_same(training_patch(grade(synthetic_panorama()), 2, seed=3, index=index), first[index])
    crops = {
        tuple(training_patch(grade(synthetic_panorama(scene=scene)), 2, seed, index).meta["crop"])
        for scene in ("noise", "other")
        for seed in (0, 1)
        for index in (0, 1)
    }
    assert len(crops) == 8


def test_patches_of_all_scales_show_the_same_places() -> None:
    places = [
        [pair.meta["crop"] for pair in training_patches(synthetic_panorama(), scale, 0, 3)] for scale in (1, 2, 4)
    ]
    assert places[0] == places[1] == places[2]


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_patch_equals_its_place_in_the_panorama(scale: int) -> None:
    """LR pixels equal those of the whole picture, shifted to the patch's grid and wrapped around."""
    graded = graded_noise()
    wrapped = 0
    for index in range(8):
        pair = training_patch(graded, scale, seed=0, index=index)
        top, left, height, width = pair.meta["crop"]
        assert (height, width) == (160, 160)
        assert 256 // 8 <= top <= 256 - 256 // 8 - 160
        assert 0 <= left < 512
        wrapped += left > 512 - 160

        rolled = [plane.roll((-top + 16, -left + 160), (-2, -1)) for plane in (graded.hdr, graded.sdr)]
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
