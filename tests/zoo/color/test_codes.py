from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from zoo.color import codes_to_components, components_to_codes, quantize
from zoo.signal import HDR10_VIDEO, SDR_VIDEO, Signal

SRGB = Signal.parse("bt709-srgb-rgb-full-8")
SIGNALS = [
    SDR_VIDEO,
    HDR10_VIDEO,
    SRGB,
    Signal.parse("bt709-srgb-ycbcr709-full-8"),
    Signal.parse("bt2020-pq-rgb-narrow-10"),
    Signal.parse("bt2020-pq-rgb-full-10"),
    Signal.parse("bt2020-hlg-ycbcr2020-narrow-12"),
    Signal.parse("p3d65-pq-rgb-full-12"),
    Signal.parse("bt2020-pq-ycbcr2020-narrow-16"),
    Signal.parse("bt470bg-bt1886-ycbcr601-full-16"),
]


def column(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64).view(-1, 1, 1)


# ITU-R BT.709-6, item 4.6, BT.2100-2, Table 9, and ITU-T H.273, 8.3 (full range).
@pytest.mark.parametrize(
    ("signal", "lowest", "highest"),
    [
        (SDR_VIDEO, (16, 16, 16), (235, 240, 240)),
        (HDR10_VIDEO, (64, 64, 64), (940, 960, 960)),
        (SRGB, (0, 0, 0), (255, 255, 255)),
        (Signal.parse("bt2020-pq-rgb-narrow-10"), (64, 64, 64), (940, 940, 940)),
        (Signal.parse("bt709-srgb-ycbcr709-full-8"), (0, 0.5, 0.5), (255, 255.5, 255.5)),
        (Signal.parse("bt2020-pq-ycbcr2020-narrow-12"), (256, 256, 256), (3760, 3840, 3840)),
        (Signal.parse("bt2020-hlg-rgb-full-12"), (0, 0, 0), (4095, 4095, 4095)),
        (Signal.parse("bt2020-pq-ycbcr2020-narrow-16"), (4096, 4096, 4096), (60160, 61440, 61440)),
        (Signal.parse("bt2020-pq-ycbcr2020-full-16"), (0, 0.5, 0.5), (65535, 65535.5, 65535.5)),
    ],
    ids=str,
)
def test_ends_of_the_components_have_the_codes_of_the_standard(
    signal: Signal, lowest: tuple[float, ...], highest: tuple[float, ...]
) -> None:
    start, end = ((0, 0, 0), (1, 1, 1)) if signal.matrix == "rgb" else ((0, -0.5, -0.5), (1, 0.5, 0.5))
    torch.testing.assert_close(components_to_codes(column(*start), signal), column(*lowest))
    torch.testing.assert_close(components_to_codes(column(*end), signal), column(*highest))


@given(st.sampled_from(SIGNALS), st.lists(st.integers(0, 65535), min_size=3, max_size=3))
def test_codes_survive_the_way_to_components_and_back(signal: Signal, values: list[int]) -> None:
    codes = quantize(column(*values), signal)
    for dtype in (torch.float32, torch.float64):
        assert torch.equal(
            quantize(components_to_codes(codes_to_components(codes.to(dtype), signal), signal), signal), codes
        )


def test_quantize_rounds_halves_up() -> None:
    codes = torch.tensor([99.49, 99.5, 100.0, 100.5, 101.5], dtype=torch.float64)
    assert quantize(codes, SDR_VIDEO).tolist() == [99, 100, 100, 101, 102]


@pytest.mark.parametrize(
    ("signal", "ends"),
    [
        (SDR_VIDEO, (1, 254)),
        (HDR10_VIDEO, (4, 1019)),
        (SRGB, (0, 255)),
        (Signal.parse("bt2020-pq-ycbcr2020-narrow-12"), (16, 4079)),
        (Signal.parse("bt2020-pq-ycbcr2020-narrow-16"), (256, 65279)),
        (Signal.parse("bt2020-pq-rgb-full-16"), (0, 65535)),
    ],
    ids=str,
)
def test_quantize_keeps_off_the_reserved_codes(signal: Signal, ends: tuple[int, int]) -> None:
    assert tuple(quantize(torch.tensor([-5.0, 70000.0]), signal).tolist()) == ends


def test_half_precision_is_computed_in_float32() -> None:
    components = torch.rand(3, 4, 4).half()
    assert torch.equal(components_to_codes(components, SDR_VIDEO), components_to_codes(components.float(), SDR_VIDEO))
