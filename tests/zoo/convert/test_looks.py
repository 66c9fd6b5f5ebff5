from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import zoo
from zoo.color import encode
from zoo.convert.looks import Watcher, looks
from zoo.signal import HDR10_VIDEO, SDR_VIDEO


class Painter(nn.Module):
    """A network of scale 1 that shows each picture's R'G'B' as light of a given white and tint."""

    def __init__(self, white: float, tint: float = 1.0, black: float = 0.0) -> None:
        super().__init__()
        self.white, self.tint, self.black = white, tint, black

    def forward(self, x: Tensor) -> Tensor:
        level = ((255 * x[:, :1] - 16) / 219).clamp(0, 1) ** 2.4
        light = self.black + self.white * level.repeat(1, 3, 1, 1)
        light[:, 2] *= self.tint
        return encode(light, HDR10_VIDEO)


def grey(code: int) -> Tensor:
    frame = torch.full((3, 16, 16), 128 / 255)
    frame[0] = code / 255
    return frame


def watched(net: nn.Module, codes: list[int], gains: list[float]) -> dict[str, float]:
    watcher = Watcher(SDR_VIDEO)
    for code, gain in zip(codes, gains, strict=True):
        watcher.update(grey(code), encode(gain * 200 * torch.ones(3, 16, 16), HDR10_VIDEO))
    return watcher.sums()


def test_a_good_converter_gives_no_warning() -> None:
    net = zoo.load("bicubic+white203", scale=1)
    watcher = Watcher(SDR_VIDEO)
    for code in (235, 100, 235):
        watcher.update(grey(code), net(grey(code)[None])[0])
    figures = looks(net, [watcher.sums()])
    assert figures.white == pytest.approx(203, rel=0.02)
    assert figures.warnings() == []


def test_the_hue_of_black_counts_for_nothing() -> None:
    class TintedBlack(Painter):
        def forward(self, x: Tensor) -> Tensor:
            hdr = super().forward(x)
            blue = encode(torch.tensor([0.0, 0.0, 0.08])[None, :, None, None].expand_as(hdr), HDR10_VIDEO)
            return torch.where(x[:, :1] * 255 < 16.5, blue, hdr)

    assert looks(TintedBlack(203), []).warnings() == looks(Painter(203), []).warnings() == []


def test_light_that_changes_while_the_input_stands_still_is_flicker() -> None:
    figures = looks(Painter(203), [watched(Painter(203), [100] * 4, [1, 1.2, 1, 1.2])])
    assert figures.flicker is not None
    assert figures.flicker > 5
    assert "flickers" in figures.warnings()[0]


def test_change_between_parts_counts_as_none() -> None:
    parts = [watched(Painter(203), [100] * 3, [gain] * 3) for gain in (1.0, 1.5)]
    assert looks(Painter(203), parts).flicker == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("net", "text"),
    [
        (Painter(203, tint=1.5), "greys are tinted"),
        (Painter(60), "white lies at 60"),
        (Painter(900), "white lies at 900"),
        (Painter(203, black=0.5), "black isn't black"),
    ],
)
def test_what_lies_past_a_limit_is_warned_about(net: Painter, text: str) -> None:
    assert [line for line in looks(net, []).warnings() if text in line]
