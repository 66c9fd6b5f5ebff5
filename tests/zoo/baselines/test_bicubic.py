from __future__ import annotations

import json
import pickle
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from datamodules.sources import read_panorama
from tests.panorama_pairs import validation_frames
from zoo.baselines import BASELINES, create_baseline
from zoo.color import decode
from zoo.errors import ConfigError, SignalError, UnknownModelError
from zoo.metrics import matched_psnr, psnr
from zoo.signal import HDR10_VIDEO

# Those that the reference tables score; method A's figures are of the protocol's table (docs/protocol.md).
IN_TABLES = ("bicubic+white100", "bicubic+white203", "bicubic+bt2446c", "bicubic+oracle")
VAL = (
    "circus_arena",
    "hilly_terrain_01",
    "immenstadter_horn",
    "narrow_moonlit_road",
    "peppermint_powerplant",
    "rainforest_trail",
    "thatch_chapel",
)


@cache
def frames(panoramas: Path, scene: str, scale: int) -> tuple[Tensor, Tensor]:
    """SDR as code / 255 and HDR as code / 1023 of a scene's frames, float32."""
    pairs = list(validation_frames(read_panorama(panoramas / f"{scene}_1k.exr"), scale))
    sdr = torch.from_numpy(np.stack([pair.sdr for pair in pairs])).permute(0, 3, 1, 2).float() / 255
    hdr = torch.from_numpy(np.stack([pair.hdr for pair in pairs]).astype(np.int32)).permute(0, 3, 1, 2).float() / 1023
    return sdr, hdr


@pytest.fixture(scope="session")
def panoramas(root: Path) -> Path:
    return root / "datamodules" / "panoramas"


def reference_scores(golden: Path, table: str, name: str) -> dict[str, np.ndarray]:
    """Raw and matched scores (frames, 2) by scene."""
    scores: dict[str, list[list[float]]] = {}
    for row in json.loads((golden / f"{table}.json").read_text()):
        scores.setdefault(row["scene"], []).append(row[name])
    return {scene: np.array(rows) for scene, rows in scores.items()}


def assert_scores_of_the_reference(
    golden: Path, panoramas: Path, table: str, name: str, dtype: torch.dtype = torch.float32, scenes: int | None = None
) -> None:
    """Raw and matched scores of the first ``scenes`` lie within the reference's 0.005 dB."""
    scale = int(table[-1])
    baseline = create_baseline(name, scale)
    for scene, expected in list(reference_scores(golden, table, name).items())[:scenes]:
        sdr, hdr = (x.to(dtype) for x in frames(panoramas, scene, scale))
        preds = baseline(sdr)
        np.testing.assert_allclose(psnr(preds, hdr), expected[:, 0], rtol=0, atol=0.005, err_msg=scene)
        np.testing.assert_allclose(matched_psnr(preds, hdr), expected[:, 1], rtol=0, atol=0.005, err_msg=scene)


@pytest.mark.parametrize("name", IN_TABLES)
@pytest.mark.parametrize("table", ["val_v1_x2", "test_v1_x2"])
def test_raw_scores_equal_the_reference(golden: Path, panoramas: Path, table: str, name: str) -> None:
    baseline = create_baseline(name, 2)
    for scene, expected in reference_scores(golden, table, name).items():
        sdr, hdr = frames(panoramas, scene, 2)
        np.testing.assert_allclose(psnr(baseline(sdr), hdr), expected[:, 0], rtol=0, atol=0.005, err_msg=scene)


@pytest.mark.parametrize("name", IN_TABLES)
@pytest.mark.parametrize("table", ["val_v1_x2", "val_v1_x4", "test_v1_x1"])
def test_matched_scores_of_a_scene_equal_the_reference(golden: Path, panoramas: Path, table: str, name: str) -> None:
    assert_scores_of_the_reference(golden, panoramas, table, name, scenes=1)


@pytest.mark.parametrize("name", IN_TABLES)
def test_scores_in_float64_equal_the_reference(golden: Path, panoramas: Path, name: str) -> None:
    assert_scores_of_the_reference(golden, panoramas, "test_v1_x4", name, torch.float64, scenes=1)


@pytest.mark.slow
@pytest.mark.parametrize("name", IN_TABLES)
@pytest.mark.parametrize("table", ["val_v1_x1", "val_v1_x2", "val_v1_x4", "test_v1_x1", "test_v1_x2", "test_v1_x4"])
def test_all_scores_equal_the_reference(golden: Path, panoramas: Path, table: str, name: str) -> None:
    assert_scores_of_the_reference(golden, panoramas, table, name)


# The protocol's table, val x2, rounded to 0.01 dB.
@pytest.mark.parametrize(("name", "raw"), [("bicubic+bt2446a", 25.60), ("bicubic+bt2446a-table4", 25.83)])
def test_raw_score_of_method_a_is_that_of_the_protocol(panoramas: Path, name: str, raw: float) -> None:
    baseline = create_baseline(name, 2)
    scores = [psnr(baseline(sdr), hdr) for sdr, hdr in (frames(panoramas, scene, 2) for scene in VAL)]
    assert torch.cat(scores).mean().item() == pytest.approx(raw, abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "matched"), [("bicubic+bt2446a", 37.55), ("bicubic+bt2446a-table4", 37.94)])
def test_matched_score_of_method_a_is_that_of_the_protocol(panoramas: Path, name: str, matched: float) -> None:
    baseline = create_baseline(name, 2)
    scores = [matched_psnr(baseline(sdr), hdr) for sdr, hdr in (frames(panoramas, scene, 2) for scene in VAL)]
    assert torch.cat(scores).mean().item() == pytest.approx(matched, abs=0.01)


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize("scale", [1, 2, 4])
def test_interface_is_a_networks(name: str, scale: int) -> None:
    baseline = create_baseline(name, scale)
    preds = baseline(torch.rand(2, 3, 5, 7))
    assert preds.shape == (2, 3, 5 * scale, 7 * scale)
    assert preds.dtype == torch.float32
    assert preds.isfinite().all()
    assert str(baseline.input_signal) == "bt709-bt1886-ycbcr709-narrow-8"
    assert str(baseline.output_signal) == "bt2020-pq-ycbcr2020-narrow-10"
    assert baseline.scale == scale


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_output_depends_on_the_halo_and_no_further(scale: int) -> None:
    baseline = create_baseline("bicubic+white100", scale).double()
    generator = torch.Generator().manual_seed(0)
    sdr = (60 + 100 * torch.rand(1, 3, 16, 16, generator=generator, dtype=torch.float64)) / 255
    sdr[:, 1:] = 128 / 255
    changed = sdr.clone()
    changed[..., 8, 6] += 10 / 255
    rows, columns = (baseline(changed) != baseline(sdr)).any(1)[0].nonzero().T // scale
    reach = ((8 - rows).abs().max().item(), (6 - columns).abs().max().item())
    assert reach == baseline.halo


@pytest.mark.parametrize("name", BASELINES)
def test_only_operators_with_statistics_have_no_halo(name: str) -> None:
    statistics = name in ("bicubic+kovaleski", "bicubic+masia", "bicubic+huo")
    assert (create_baseline(name, 2).halo is None) == statistics


# White and black in code units, and the light of white in cd/m² (the converters' formulas at V = 1).
@pytest.mark.parametrize(
    ("name", "white"),
    [
        ("bicubic+white100", 100.0),
        ("bicubic+white203", 203.0),
        ("bicubic+bt2446c", 332.4),
        ("bicubic+bt2446a", 1000.0),
        ("bicubic+bt2446a-table4", 999.5),
        ("bicubic+oracle", 1000.0),
        ("bicubic+kovaleski", 1000.0),
        ("bicubic+masia", 1000.0),
        ("bicubic+huo", 1000.0),
    ],
)
def test_white_and_black_come_out_at_the_converters_levels(name: str, white: float) -> None:
    sdr = torch.tensor([[235, 128, 128], [16, 128, 128]], dtype=torch.float64).view(2, 3, 1, 1) / 255
    light = decode(create_baseline(name, 2)(sdr.expand(2, 3, 4, 4)), HDR10_VIDEO)
    torch.testing.assert_close(light[0], torch.full_like(light[0], white), rtol=1e-3, atol=0)
    assert light[1].abs().max() < 1e-6


@pytest.mark.parametrize("name", BASELINES)
def test_colours_outside_the_range_of_sdr_are_clipped(name: str) -> None:
    baseline = create_baseline(name, 1)
    superwhite = torch.tensor([254, 128, 128]).view(1, 3, 1, 1) / 255
    white = torch.tensor([235, 128, 128]).view(1, 3, 1, 1) / 255
    assert torch.equal(baseline(superwhite), baseline(white))


@pytest.mark.parametrize("name", BASELINES)
def test_batch_equals_single_and_autocast_changes_nothing(name: str) -> None:
    baseline = create_baseline(name, 2)
    sdr = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    preds = baseline(sdr)
    assert torch.equal(baseline(sdr[1:]), preds[1:])
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(baseline(sdr), preds)


def test_baseline_can_be_pickled_and_holds_no_parameters() -> None:
    baseline = pickle.loads(pickle.dumps(create_baseline("bicubic+oracle", 4)))
    assert baseline.scale == 4
    assert baseline.state_dict() == {}


def test_unknown_baseline_lists_the_known() -> None:
    with pytest.raises(UnknownModelError, match=r"no baseline 'bicubic\+hable'; known: bicubic\+white100, .*oracle"):
        create_baseline("bicubic+hable", 2)


@pytest.mark.parametrize("scale", [0, 3, 8])
def test_other_scales_are_refused(scale: int) -> None:
    with pytest.raises(ConfigError, match=f"bicubic\\+bt2446c has no scale {scale}; choose 1, 2 or 4"):
        create_baseline("bicubic+bt2446c", scale)


@pytest.mark.parametrize("x", [torch.zeros(3, 8, 8), torch.zeros(1, 3, 8, 8, dtype=torch.uint8)])
def test_what_is_no_float_picture_is_refused(x: Tensor) -> None:
    with pytest.raises(SignalError, match="want float pictures"):
        create_baseline("bicubic+oracle", 2)(x)
