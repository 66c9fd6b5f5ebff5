from __future__ import annotations

import errno
import json
from pathlib import Path

import numpy as np
import pytest

from tests.datamodules.sources.video_files import HDR10, SDR, UNTAGGED, textured, write_video
from tests.zoo.convert.clips import decoded, sdr_frames, write_film
from zoo.cli import main as sritm
from zoo.convert.command import main

MODEL = ["--model", "bicubic+bt2446c"]


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Two frames 64x48."""
    return write_video(tmp_path / "clip.mkv", sdr_frames(2), "yuv420p", SDR)


def error_of(arguments: list[str], capsys: pytest.CaptureFixture[str], status: int = 2) -> str:
    """The one line of an error."""
    assert main(arguments) == status
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    return line


def test_sritm_convert_writes_the_file_and_reports(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output, facts = tmp_path / "out.mp4", tmp_path / "report.json"
    arguments = [str(clip), str(output), *MODEL, "--encoder", "preset=ultrafast", "crf=30", "--report", str(facts)]
    assert sritm(["convert", *arguments]) == 0
    text = capsys.readouterr().out
    assert len(decoded(output)[0]) == 2
    for word in ("64x48, bt709-bt1886-ycbcr709-narrow-8", "128x96, HEVC Main 10, HDR10, 2 frames", "MaxCLL"):
        assert word in text
    report = json.loads(facts.read_text())
    assert report["frames"] == 2
    assert f"MaxCLL {report['levels'][0]} cd/m²" in text


def test_an_output_that_is_there_is_replaced_only_when_asked_for(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.mkv"
    output.write_text("precious")
    arguments = [str(clip), str(output), *MODEL, "--codec", "ffv1"]
    assert "--overwrite" in error_of(arguments, capsys)
    assert output.read_text() == "precious"
    assert main([*arguments, "--overwrite"]) == 0
    assert len(decoded(output)[0]) == 2


def test_bad_inputs_are_said_in_a_line_and_leave_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def video(name: str, *args: object, **options: object) -> str:
        return str(write_video(tmp_path / name, *args, **options))  # type: ignore[arg-type]

    (tmp_path / "text.mp4").write_text("not a video")
    (tmp_path / "empty.mp4").write_bytes(b"")
    whole = write_film(tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    grey = [(luma,) for luma, _, _ in sdr_frames(2)]
    alpha = [(*planes, planes[0]) for planes in textured(2, (48, 64), 8, (2, 2))]
    good = video("good.mkv", sdr_frames(2), "yuv420p", SDR)
    cases = {
        ("absent.mp4",): "no such file",
        ("text.mp4",): "can't be read as video",
        ("empty.mp4",): "can't be read as video",
        ("cut.mp4",): "is the file whole",
        (video("hdr.mkv", textured(2, (48, 64)), "yuv420p10le", HDR10),): "is HDR already",
        (video("grey.mkv", grey, "gray", SDR),): "is grey",
        (video("alpha.mkv", alpha, "yuva420p", SDR),): "isn't read; convert it",
        (good, "--range", "9s-10s"): "no frame from 9 s to 10 s",
        (good, "--model", "bicubic+nothing"): "no model 'bicubic+nothing'",
        (good, "--model", "jsinet_x2.v77"): "jsinet_x2",
        (good, "--model", "none.safetensors"): "none.safetensors",
        (good, "--codec", "raw"): "doesn't go into",
        (good, "--encoder", "preset=never"): "doesn't take its options",
        (good, "--encoder", "crf"): "KEY=VALUE",
        (good, "--part", "1"): "--part is at least",
        (good, "--model", "jsinet_x2", "--scale", "4"): "jsinet_x2 is of scale 2",
        (good, "--device", "cuda"): "no GPU",
        (good, "--memory", "nan"): "give the gigabytes",
        (good, "--report", str(tmp_path / "absent" / "r.json")): "absent isn't there; make it first",
    }
    for (name, *options), text in cases.items():
        before = sorted(tmp_path.iterdir())
        line = error_of([str(tmp_path / name), str(tmp_path / "out.mp4"), *MODEL, *options], capsys)
        assert text in line, line
        assert sorted(tmp_path.iterdir()) == before, line
    for output, text in {
        tmp_path / "absent" / "out.mp4": "isn't there; make it first",
        tmp_path: "is a folder",
        tmp_path / "out.avi": "video is written as .mp4",
        tmp_path / "out.png": "video is written as .mp4",
        tmp_path / "good.mkv": "--overwrite",
    }.items():
        assert text in error_of([good, str(output), *MODEL], capsys)
    assert "is the input itself" in error_of([good, good, *MODEL, "--overwrite"], capsys)


def test_interlaced_video_is_refused_with_advice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = {"options": {"x264-params": "interlaced=1:bframes=0"}}
    film = write_video(tmp_path / "a.mkv", sdr_frames(2), "yuv420p", UNTAGGED, "libx264", **options)  # type: ignore[arg-type]
    assert "deinterlace" in error_of([str(film), str(tmp_path / "out.mp4"), *MODEL], capsys)


def test_a_full_disk_keeps_what_is_finished_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    film = write_film(tmp_path / "film.mp4")
    from zoo.convert import parts

    encode = parts.encode

    def full(path: Path, *rest: object) -> int:
        if list(path.parent.glob("0*.json")):
            raise OSError(errno.ENOSPC, "No space left on device")
        return encode(path, *rest)  # type: ignore[arg-type]

    output = tmp_path / "out.mp4"
    arguments = [str(film), str(output), *MODEL, "--part", "4", "--encoder", "preset=ultrafast"]
    monkeypatch.setattr(parts, "encode", full)
    assert "No space left on device; what is finished is kept" in error_of(arguments, capsys)
    assert not output.exists()
    monkeypatch.undo()
    assert main(arguments) == 0
    assert "4 of them before" in capsys.readouterr().out
    assert len(decoded(output)[0]) == 12


def test_ctrl_c_ends_with_130_and_no_file(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from zoo.convert import parts

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(parts, "encode", interrupt)
    assert main([str(clip), str(tmp_path / "out.mp4"), *MODEL]) == 130
    assert "the same command goes on" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mkv"]


def test_a_missing_encoder_is_named_before_any_work(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import av

    def absent(name: str, mode: str) -> None:
        raise av.codec.codec.UnknownCodecError(name)

    monkeypatch.setattr(av.codec, "Codec", absent)
    assert "has no encoder libx265" in error_of([str(clip), str(tmp_path / "out.mp4"), *MODEL], capsys)


def test_ranges_are_read_in_several_forms() -> None:
    from zoo.convert.command import parser

    for text, wanted in {"10s-20s": (10, 20), "1:00-1:30.5": (60, 90.5), "0-1:00:00": (0, 3600)}.items():
        assert parser().parse_args(["a", "b", *MODEL, "--range", text]).range == wanted
    for text in ("20s-10s", "10s", "a-b", "-5-3"):
        with pytest.raises(SystemExit):
            parser().parse_args(["a", "b", *MODEL, f"--range={text}"])


def test_frames_of_any_iterable_go_through_the_pipeline() -> None:
    import zoo

    to_hdr = zoo.pipeline("bicubic+bt2446c", scale=2)
    frames = [np.full((4, 6, 3), value, np.uint8) for value in (0, 100, 255)]
    converted = to_hdr.frames(iter(frames), "bt709")
    np.testing.assert_array_equal(next(converted), to_hdr(frames[0], "bt709"))
    assert [frame.shape for frame in converted] == [(8, 12, 3)] * 2
