from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import Tensor

from datamodules.degrade import JPEG, ChromaSubsampling, Degradation, Noise, Stage, VideoCodec, degrade
from datamodules.draws import generator
from zoo.errors import ConfigError

ALL: list[Degradation] = [
    Noise((0.5, 1.5)),
    ChromaSubsampling(),
    VideoCodec("h264", (18, 28)),
    VideoCodec("hevc", (18, 28)),
    JPEG((60, 95)),
]


def name_of(degradation: Degradation) -> str:
    return type(degradation).__name__ + getattr(degradation, "name", "")


def picture(height: int = 40, width: int = 56) -> Tensor:
    """Soft blobs of legal codes."""
    coarse = torch.rand(
        1, 3, height // 8 + 2, width // 8 + 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    smooth = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bilinear")[0]
    return (torch.tensor([60.0, 108, 108]).view(3, 1, 1) + 40 * smooth).round().double()


def psnr(one: Tensor, other: Tensor) -> float:
    return 10 * float(torch.log10(255**2 / (one - other).square().mean()))


@pytest.mark.parametrize("degradation", ALL, ids=name_of)
@pytest.mark.parametrize("size", [(40, 56), (33, 45)])
def test_degraded_picture_is_other_codes_of_the_same_picture(degradation: Degradation, size: tuple[int, int]) -> None:
    codes = picture(*size)
    degraded, record = degradation(codes, generator(0))
    assert degraded.shape == codes.shape
    assert degraded.dtype == torch.float64
    assert torch.equal(degraded, degraded.round())
    assert degraded.min() >= 1
    assert degraded.max() <= 254
    assert 35 < psnr(degraded, codes) < 60
    assert json.loads(json.dumps(record)) == record


@pytest.mark.parametrize("degradation", ALL, ids=name_of)
def test_same_draws_degrade_alike(degradation: Degradation) -> None:
    first, record = degradation(picture(), generator(1))
    again, again_record = degradation(picture(), generator(1))
    other, _ = degradation(picture(), generator(2))
    assert torch.equal(first, again)
    assert record == again_record
    assert not torch.equal(first, other)


@pytest.mark.parametrize("degradation", ALL[1:], ids=name_of)
def test_uniform_grey_comes_through_codecs_unchanged(degradation: Degradation) -> None:
    grey = torch.tensor([120.0, 128, 128], dtype=torch.float64).view(3, 1, 1).expand(3, 32, 32)
    degraded, _ = degradation(grey, generator(0))
    assert (degraded - grey).abs().max() <= 1


@pytest.mark.parametrize(
    ("weak", "strong"),
    [
        (Noise((0.3, 0.3)), Noise((1.5, 1.5))),
        (VideoCodec("h264", (12, 12)), VideoCodec("h264", (36, 36))),
        (VideoCodec("hevc", (12, 12)), VideoCodec("hevc", (36, 36))),
        (JPEG((98, 98)), JPEG((30, 30))),
    ],
    ids=name_of,
)
def test_drawn_strength_is_what_is_done(weak: Degradation, strong: Degradation) -> None:
    codes = picture()
    codes[0] += (torch.arange(56) % 2) * 12  # detail that compression can lose
    assert psnr(weak(codes, generator(0))[0], codes) > psnr(strong(codes, generator(0))[0], codes) + 3


def test_noise_has_the_deviation_recorded() -> None:
    codes = torch.full((3, 100, 100), 120.0, dtype=torch.float64)
    degraded, record = Noise((1, 3))(codes, generator(0))
    # Rounding adds a uniform error, of variance 1/12.
    assert float((degraded - codes).std()) == pytest.approx((record["deviation"] ** 2 + 1 / 12) ** 0.5, rel=0.02)
    assert abs(float((degraded - codes).mean())) < 0.05


def test_chroma_subsampling_keeps_luma_and_blurs_chroma() -> None:
    codes = picture()
    codes[1] += (torch.arange(56) % 2) * 8
    degraded, record = ChromaSubsampling()(codes, generator(0))
    assert record == {"name": "420"}
    assert torch.equal(degraded[0], codes[0])
    assert degraded[1].diff(dim=-1).abs().mean() < 0.4 * codes[1].diff(dim=-1).abs().mean()


def test_blocks_of_a_codec_lie_at_drawn_phases() -> None:
    """The grid of a strong JPEG shows as steps between columns; over many draws it stands everywhere."""
    ramp = (60 + 2 * torch.arange(64.0, dtype=torch.float64)).expand(3, 64, 64).clone()
    ramp[1:] = 128
    places = set()
    for seed in range(30):
        degraded, _ = JPEG((5, 5))(ramp, generator(seed))
        places.add(int(degraded[0].diff(dim=-1).mean(0)[8:16].argmax()))
    assert len(places) >= 4


def test_each_stage_draws_at_most_one_by_its_probability() -> None:
    stages: tuple[Stage, ...] = (((Noise((1, 1)), 0.5), (Noise((2, 2)), 0.25)), ((ChromaSubsampling(), 0.5),))
    records = [degrade(picture(8, 8), stages, generator(seed))[1] for seed in range(600)]
    counts = np.array(
        [
            [sum(r.get("deviation") == deviation for record in records for r in record) for deviation in (1.0, 2.0)],
            [sum(record == [] for record in records), sum(r["name"] == "420" for record in records for r in record)],
        ]
    )
    # 600 draws deviate by at most 12.2 (1 sigma): 4 sigma.
    assert np.abs(counts - [[300, 150], [75, 300]]).max() < 49
    assert {len(record) for record in records} == {0, 1, 2}
    assert all(record[-1]["name"] == "420" for record in records if len(record) == 2)


def test_missing_encoder_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datamodules.degrade._ENCODERS", {"h264": ("libx264_not_built", {})})
    with pytest.raises(ConfigError, match=r"this PyAV has no encoder libx264_not_built, .*; install the wheel"):
        VideoCodec("h264", (20, 20))(picture(), generator(0))


def test_no_stages_leave_the_codes_alone() -> None:
    codes, records = degrade(picture(), (), generator(0))
    assert torch.equal(codes, picture())
    assert records == []
