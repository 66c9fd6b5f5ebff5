from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.datamodules.sources.video_files import SDR, write_video
from tests.zoo.convert.clips import sdr_frames
from zoo.convert.bars import Bars, blacken, find_bars
from zoo.convert.reading import open_sdr_video
from zoo.signal import HDR10_VIDEO, SDR_VIDEO


def bars_of(frames: list[tuple[np.ndarray, ...]], path: Path) -> Bars:
    source = open_sdr_video(write_video(path, frames, "yuv420p", SDR), None)
    return find_bars(source, source.span(None))


@pytest.mark.parametrize("rows", [8, 9])
def test_bars_of_coded_black_are_found(rows: int, tmp_path: Path) -> None:
    frames = []
    for luma, cb, cr in sdr_frames(4):
        luma[:rows], luma[-8:] = 18, 15
        for chroma in (cb, cr):
            chroma[: rows // 2], chroma[-4:] = 129, 127
        frames.append((luma, cb, cr))
    found = bars_of(frames, tmp_path / "wide.mkv")
    assert found == Bars(top=8, bottom=8)  # an odd row shares its colour with the picture


def test_dark_colour_and_shadow_are_picture(tmp_path: Path) -> None:
    blue, shadow = [], []
    for luma, cb, cr in sdr_frames(2):
        luma[:, :16], cb[:, :8], cr[:, :8] = 24, 200, 120
        blue.append((luma, cb, cr))
    for luma, cb, cr in sdr_frames(2):
        luma[:, :20], cb[:, :10], cr[:, :10] = np.linspace(17, 24, 20).round(), 128, 128
        luma[:, 20:40] = np.linspace(24, 90, 20).round()
        shadow.append((luma, cb, cr))
    assert bars_of(blue, tmp_path / "blue.mkv") == Bars()
    assert bars_of(shadow, tmp_path / "shadow.mkv") == Bars()


@pytest.mark.parametrize(("component", "code"), [(0, 200), (1, 170)])
def test_a_frame_that_shows_something_on_the_bars_keeps_it(component: int, code: int) -> None:
    sdr = torch.tensor([16.0, 128.0, 128.0])[:, None, None].repeat(1, 24, 32) / 255
    sdr[0, 8:16] = 0.5
    hdr = torch.full((3, 48, 64), 0.4)
    signals = (SDR_VIDEO, HDR10_VIDEO)
    written = blacken(hdr, sdr, Bars(8, 8), signals, 2)
    assert (written[:, :16] * 1023).round().unique().tolist() == [64, 512]
    assert torch.equal(written[:, 16:32], hdr[:, 16:32])
    sdr[component, 2, 5] = code / 255
    assert torch.equal(blacken(hdr, sdr, Bars(8, 8), signals, 2), hdr)
