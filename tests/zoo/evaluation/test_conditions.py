from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

import zoo
from tests.datamodules.sources.video_files import HDR10, SDR, UNTAGGED, textured, write_video
from tests.zoo.evaluation.conftest import write_super_resolver
from zoo.color import encode, light_to_ictcp, pq_decode
from zoo.evaluation.command import main
from zoo.evaluation.conditions import (
    GREYS,
    Flicker,
    code_shares,
    gamut_shares,
    grey_chart,
    grey_light,
    grey_shift,
    white_light,
)
from zoo.metrics import delta_e_itp
from zoo.signal import HDR10_VIDEO


def picture(light: list[list[float]]) -> Tensor:
    """Light in cd/m² on BT.2020 primaries, a colour for each pixel of a row, on the HDR signal: ``(3, 1, N)``."""
    return encode(torch.tensor(light, dtype=torch.float64).T[:, None], HDR10_VIDEO)


def greys_of(levels: np.ndarray | Tensor) -> Tensor:
    """Luma codes ``(h, w)`` as SDR ``(3, h, w)``."""
    luma = torch.as_tensor(levels, dtype=torch.float32)
    return torch.stack([luma, torch.full_like(luma, 128), torch.full_like(luma, 128)]) / 255


# ---- flicker


def flicker_of(frames: list[Tensor], model: Any) -> Any:
    flicker = Flicker()
    for number, sdr in enumerate(frames):
        flicker.update(sdr, model(sdr, number))
    return flicker.compute()


def curve(sdr: Tensor) -> Tensor:
    """A fixed one, on codes."""
    return (sdr * 255 * 3.5) / 1023


def fading_noise(count: int = 12) -> list[Tensor]:
    noise = np.random.default_rng(0).integers(0, 60, (24, 32))
    return [greys_of(noise + 60 + 8 * number) for number in range(count)]


def test_a_fixed_curve_has_no_excess_however_fast_the_picture_changes() -> None:
    figures = flicker_of(fading_noise(), lambda sdr, _: curve(sdr))
    assert figures.excess == pytest.approx(0, abs=1e-3)
    assert figures.input == pytest.approx(8 * 3.5, abs=1e-3)
    assert figures.still is None
    assert figures.still_share == 0


def test_a_level_that_alternates_is_found_in_codes() -> None:
    """Up and down by 5 codes: 10 from frame to frame, on a picture that stands still."""
    frames = [greys_of(np.random.default_rng(0).integers(60, 200, (24, 32)))] * 8
    figures = flicker_of(frames, lambda sdr, number: curve(sdr) + 5 * (-1) ** number / 1023)
    assert (figures.excess, figures.still) == (pytest.approx(10, abs=1e-3), pytest.approx(10, abs=1e-3))
    assert (figures.input, figures.still_share) == (pytest.approx(0, abs=1e-9), 1)


def test_what_moves_does_not_count_as_still() -> None:
    """The left half changes, and pixels within 4 of it don't count; the rest alternates by 2 codes."""
    base = np.random.default_rng(0).integers(60, 120, (24, 40))
    frames = [greys_of(np.where(np.arange(40) < 20, base + 9 * number, base)) for number in range(6)]
    figures = flicker_of(frames, lambda sdr, number: curve(sdr) + (-1) ** number / 1023)
    assert figures.still_share == pytest.approx((40 - 20 - 4) / 40)
    assert figures.still == pytest.approx(2, abs=1e-3)


def test_a_cut_is_no_flicker() -> None:
    """Two shots that the model shows at two levels, as one that looks at the whole picture may."""
    shots = [greys_of(np.full((16, 16), 60))] * 3, [greys_of(np.full((16, 16), 60))] * 3
    flicker = Flicker()
    for shot, offset in zip(shots, (0, 0.2), strict=True):
        for sdr in shot:
            flicker.update(sdr, curve(sdr) + offset)
        flicker.cut()
    assert flicker.compute() == (0, 0, 0, 1)


def test_one_frame_has_no_flicker_to_tell() -> None:
    assert flicker_of(fading_noise(1), lambda sdr, _: curve(sdr)) == (None,) * 4


def test_pixels_of_the_prediction_stand_for_those_of_the_input() -> None:
    """Detail within an LR pixel that changes sides leaves its mean alone."""

    def model(sdr: Tensor, number: int) -> Tensor:
        detail = 0.1 * (-1) ** number * torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(24, 32)
        return curve(sdr).repeat_interleave(2, -1).repeat_interleave(2, -2) + detail

    assert flicker_of([fading_noise()[0]] * 3, model).still == pytest.approx(0, abs=1e-3)


# ---- codes, gamut, white, greys


def test_codes_that_cannot_be_carried_are_counted() -> None:
    codes = torch.tensor([[0.4, 63.0, 64.0, 940.0, 941.0, 1023.6], [64, 512, 960, 961, -3, 500], [512] * 6])
    shares = code_shares(codes[:, None] / 1023)
    assert shares == (pytest.approx(3 / 18), pytest.approx(6 / 18))


def test_colours_are_told_by_the_gamut_that_holds_them() -> None:
    red709 = (0.6274, 0.0691, 0.0164)  # ITU-R BT.2087, M2
    inside = [[100.0, 100, 100], [100 * part for part in red709], [0.02, 0, 0]]
    assert gamut_shares(picture(inside)) == (0, 0)
    assert gamut_shares(picture([*inside, [0, 100, 0]])) == (0.25, 0)
    # R'G'B' of -0.01 and of 1.01, as a network may ask for.
    beyond = torch.tensor([[64 + 876 * 1.01, 512, 512], [64 + 876 * 0.5, 512, 512 - 896 * 0.5]]).T[:, None] / 1023
    assert gamut_shares(torch.cat([picture(inside[:2]).float(), beyond], dim=-1)) == (0, 0.5)


def test_white_is_measured_where_the_input_is_white() -> None:
    sdr = greys_of(np.array([[235, 234, 240, 16]]))
    light = [[203.0] * 3, [90] * 3, [407] * 3, [0] * 3]
    assert white_light(sdr, picture(light)) == (pytest.approx(610, rel=1e-4), 2)
    assert white_light(sdr[..., 1:2], picture(light[1:2])) == (0, 0)


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_greys_land_where_the_curve_says(scale: int) -> None:
    light = grey_light(zoo.create("bicubic+white203", scale=scale)(grey_chart()[None])[0])
    expected = 203 * ((torch.tensor(GREYS) - 16) / 219).double() ** 2.4
    assert GREYS[-1] == 235
    torch.testing.assert_close(light, expected.expand(3, -1), rtol=1e-4, atol=1e-4)
    assert grey_shift(light).max() < 0.05


def test_the_shift_of_greys_is_the_colour_difference_to_neutral() -> None:
    light = torch.tensor([[90.0, 100, 130], [5, 5, 4], [300, 290, 310]], dtype=torch.float64).T
    intensity = light_to_ictcp(light[:, None])[0, 0]
    neutral = pq_decode(intensity).expand(3, -1)
    for index, shift in enumerate(grey_shift(light).tolist()):
        ours, grey = (encode(x[:, None, index : index + 1], HDR10_VIDEO)[None] for x in (light, neutral))
        assert shift == pytest.approx(delta_e_itp(ours, grey).item(), abs=1e-6)
        assert shift > 1


# ---- the command


def write_clip(path: Path, frames: list[Tensor], **kwargs: Any) -> Path:
    """Grey frames of even size as H.264's kind of planes, without loss."""
    neutral = np.full((2, frames[0].shape[-2] // 2, frames[0].shape[-1] // 2), 128, np.uint8)
    planes = [((255 * frame[0]).round().numpy().astype(np.uint8), *neutral) for frame in frames]
    return write_video(path, planes, "yuv420p", **({"tags": SDR} | kwargs))


def lamp_clip(path: Path) -> Path:
    """A dark picture in which a lamp goes on and off."""
    dark = np.random.default_rng(0).integers(30, 60, (48, 64))
    lit = dark.copy()
    lit[:16, :16] = 235
    return write_clip(path, [greys_of(lit if number % 2 else dark) for number in range(6)])


def test_clips_are_described_in_one_command(tmp_path: Path, capsys: Any) -> None:
    clip = lamp_clip(tmp_path / "lamp.mkv")
    models = ["bicubic+bt2446c", "bicubic+masia"]
    assert main(["--model", *models, "--clips", str(clip), "--limit", "4", "-o", "out"]) == 0
    content = json.loads((tmp_path / "out" / "clips.json").read_text())
    figures = content["clips"]["lamp"]["figures"]
    assert content["clips"]["lamp"]["frames"] == [1, 5]
    # A fixed curve leaves the dark part alone; an operator that looks at the whole picture dims it when the lamp is on.
    static, whole = (figures[model] for model in models)
    assert static["flicker"] < 0.5
    assert whole["flicker"] > 20 * static["flicker"]
    assert static["still_flicker"] == pytest.approx(0, abs=1e-3)
    assert whole["still_flicker"] > 5
    assert static["still_share"] == pytest.approx(1 - 20 * 20 / (48 * 64))
    assert static["white"] == pytest.approx(332.4, rel=0.1)  # less along the lamp's edges
    assert content["models"]["bicubic+bt2446c"]["greys"]["235"] == pytest.approx(332.4, rel=1e-3)
    rows = list(csv.DictReader((tmp_path / "out" / "clips.csv").open()))
    assert [(row["clip"], row["model"]) for row in rows] == [("lamp", model) for model in models]
    assert float(rows[1]["flicker"]) == whole["flicker"]
    shown = capsys.readouterr().out
    assert shown.strip() == (tmp_path / "out" / "clips.md").read_text().strip()
    assert "frames 1 to 4 of 6" in shown
    assert len(content["pictures"]) == 3
    for name in content["pictures"]:
        still = cv2.imread(str(tmp_path / "out" / name))
        assert still.shape[0] > 2 * 48
        assert still.shape[1] >= 3 * 2 * 64  # input and two predictions at HR size
        assert still.max() > 200


def test_shots_are_held_apart(tmp_path: Path) -> None:
    """Two still shots, which an operator that looks at the whole picture shows at two levels."""
    base = np.random.default_rng(0).integers(0, 40, (48, 64))
    frames = [greys_of(base + level) for level in (30, 30, 30, 180, 180, 180)]
    clip = write_clip(tmp_path / "shots.mkv", frames)  # all are key frames
    assert main(["--model", "bicubic+masia", "--clips", str(clip), "--scale", "1", "-o", "out"]) == 0
    figures = json.loads((tmp_path / "out" / "clips.json").read_text())["clips"]["shots"]["figures"]
    assert figures["bicubic+masia"]["flicker"] == pytest.approx(0, abs=1e-9)
    assert figures["bicubic+masia"]["input_change"] == pytest.approx(0, abs=1e-9)
    assert figures["bicubic+masia"]["still_share"] == 1


def test_a_clip_in_colour_stays_within_its_gamut_under_a_fixed_curve(tmp_path: Path) -> None:
    clip = write_video(tmp_path / "colour.mkv", textured(2, depth=8), "yuv420p", tags=SDR)
    assert main(["--model", "bicubic+white100", "--clips", str(clip), "--scale", "1", "-o", "out"]) == 0
    figures = json.loads((tmp_path / "out" / "clips.json").read_text())["clips"]["colour"]["figures"]
    assert (figures["bicubic+white100"]["outside_709"], figures["bicubic+white100"]["outside_2020"]) == (0, 0)
    assert figures["bicubic+white100"]["clipped"] == 0


def test_a_damaged_frame_is_left_out_and_named(tmp_path: Path, capsys: Any) -> None:
    """With a key frame every 4 frames, damage to frame 5 costs 5 to 7; the rest goes on."""
    options = {"crf": "10", "preset": "veryfast", "bf": "0", "g": "4", "sc_threshold": "0"}
    clip = write_clip(tmp_path / "damaged.mp4", fading_noise(12), codec="libx264", options=options)
    with av.open(str(clip)) as container:
        position, size = next((p.pos, p.size) for n, p in enumerate(container.demux(video=0)) if n == 5)
    data = bytearray(clip.read_bytes())
    data[position : position + size] = bytes(size)
    clip.write_bytes(data)
    assert main(["--model", "bicubic+bt2446c", "--clips", str(clip), "--scale", "1", "-o", "out"]) == 1
    said = capsys.readouterr()
    assert said.err.strip().splitlines()[-1].startswith("evaluate.py: 3 frames left out, first damaged, frame 5: ")
    assert "## Left out: 3" in said.out
    content = json.loads((tmp_path / "out" / "clips.json").read_text())
    assert [failure["frame"] for failure in content["failures"]] == [f"damaged, frame {n}" for n in (5, 6, 7)]
    assert content["clips"]["damaged"]["figures"]["bicubic+bt2446c"]["flicker"] < 0.5


@pytest.mark.parametrize("name", ["bigbuckbunny.mp4", "cockatoo.mp4"])
def test_a_real_clip_does_not_flicker_under_a_fixed_curve(reference: Path, tmp_path: Path, name: str) -> None:
    clip = ["--clips", str(reference / "data" / "video" / name), "--sdr-signal", "bt709-bt1886-ycbcr709-narrow-8"]
    assert main(["--model", "bicubic+bt2446c", *clip, "--scale", "1", "--limit", "3", "-o", "out"]) == 0
    content = json.loads((tmp_path / "out" / "clips.json").read_text())
    (of_clip,) = content["clips"].values()
    figures = of_clip["figures"]["bicubic+bt2446c"]
    assert of_clip["size"] == [720, 1280]
    assert figures["flicker"] < 0.1
    assert figures["clipped"] == 0


@pytest.mark.parametrize(
    ("tags", "pixel_format", "said"),
    [
        (HDR10, "yuv420p10le", "is HDR (bt2020-pq-ycbcr2020-narrow-10), but stands for the SDR side"),
        (UNTAGGED, "yuv420p", "say what it is, e.g. --sdr-signal bt709-bt1886-ycbcr709-narrow-8"),
    ],
)
def test_a_clip_that_is_not_known_to_be_sdr_is_one_line(
    tags: Any, pixel_format: str, said: str, tmp_path: Path, capsys: Any
) -> None:
    depth = 10 if "10" in pixel_format else 8
    clip = write_video(tmp_path / "clip.mkv", textured(1, depth=depth), pixel_format, tags=tags)
    assert main(["--model", "bicubic+bt2446c", "--clips", str(clip), "-o", "out"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert said in line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--clips", "absent.mp4"], "absent.mp4: no such file"),
        (["--clips", "a.mkv", "--devices", "2"], "--clips go through one process"),
        (["--clips", "a.mkv", "--limit", "0"], "--limit is at least 1"),
        (["--clips", "a.mkv", "a.mkv"], "clip a is there twice"),
        (["jsinet_x2", "--scale", "4", "--clips", "a.mkv"], "jsinet_x2 is of scale 2, not --scale 4"),
    ],
)
def test_errors_are_one_line(arguments: list[str], said: str, tmp_path: Path, capsys: Any) -> None:
    write_clip(tmp_path / "a.mkv", fading_noise(2))
    assert main(["--model", "bicubic+bt2446c", *arguments, "-o", "out"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert said in line


def test_figures_without_numbers_are_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = f"{write_super_resolver(tmp_path, monkeypatch, call=1)}+bt2446c"  # the first call is of the chart of greys
    clip = write_clip(tmp_path / "clip.mkv", fading_noise(2))
    assert main(["--model", model, "--clips", str(clip), "--scale", "1", "-o", "out"]) == 0

    def refused(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    content = json.loads((tmp_path / "out" / "clips.json").read_text(), parse_constant=refused)
    assert content["models"][model]["greys"]["235"] == "nan"


@pytest.mark.parametrize(
    "other",
    [
        ["--styles"],
        ["--table", "jsigan.table2"],
        ["--data", "a.mkv"],
        ["--split", "val"],
        ["--metrics", "psnr"],
        ["--worst", "1"],
        ["--signal", "bt2020-pq-ycbcr2020-narrow-10"],
        ["--hdr-range", "hdrtv1k"],
        ["--flat"],
    ],
)
def test_clips_are_a_thing_of_their_own(other: list[str], capsys: Any) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--model", "bicubic+bt2446c", "--clips", "a.mkv", *other])
    assert "--clips" in capsys.readouterr().err.splitlines()[-1]
