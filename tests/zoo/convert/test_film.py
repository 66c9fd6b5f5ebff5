from __future__ import annotations

import hashlib
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import zoo
from datamodules.sources.video_file import open_video
from tests.datamodules.sources.video_files import SDR, UNTAGGED, textured, write_video
from tests.zoo.convert.clips import audio_packets, decoded, hevc_messages, mp4_box, sdr_frames, write_film
from zoo.color import decode, quantize, upsample_chroma
from zoo.convert.encoding import Planes, encode
from zoo.convert.hdr10 import x265_parameters
from zoo.convert.job import convert
from zoo.convert.light import LightMeter
from zoo.convert.parts import cut
from zoo.convert.request import Progress, Report, Request
from zoo.convert.tiling import TiledNet
from zoo.errors import ConfigError, DataError
from zoo.signal import HDR10_VIDEO, SDR_VIDEO, Signal

MODEL = "bicubic+bt2446c"
FAST = {"preset": "ultrafast", "x265-params": "pools=1:frame-threads=1"}


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 frames 64x48 with sound and chapters."""
    return write_film(tmp_path_factory.mktemp("films") / "film.mp4")


@pytest.fixture(scope="module")
def hdr10(film: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Report]:
    """The film as HDR10, in three parts."""
    output = tmp_path_factory.mktemp("hdr") / "film.mp4"
    return output, convert(Request(film, output, MODEL, options=FAST, part_frames=4))


def digest(path: Path) -> str:
    return hashlib.sha256(b"".join(plane.tobytes() for planes in decoded(path)[1] for plane in planes)).hexdigest()


def test_a_film_becomes_hdr10_with_its_frames_times_and_sound(film: Path, hdr10: tuple[Path, Report]) -> None:
    output, report = hdr10
    with av.open(str(output)) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height, stream.pix_fmt) == (128, 96, "yuv420p10le")
        assert (stream.codec_context.name, stream.codec_context.codec_tag) == ("hevc", "hvc1")
        context = stream.codec_context
        tags = (context.color_primaries, context.color_trc, context.colorspace, context.color_range)
        assert tags == (9, 16, 9, 1)  # ITU-T H.273: BT.2020, PQ, non-constant luminance; narrow
        assert container.metadata["title"] == "a film"
        assert container.streams.audio[0].metadata["language"] == "fra"
        assert [chapter["metadata"]["title"] for chapter in container.chapters()] == ["part 0", "part 1"]
    assert decoded(output)[0] == decoded(film)[0] == [Fraction(n, 25) for n in range(12)]
    assert audio_packets(output) == audio_packets(film)
    assert (report.frames, report.resumed) == (12, 0)


def test_light_levels_are_those_of_the_codes_in_the_file_and_stand_in_every_message(
    hdr10: tuple[Path, Report],
) -> None:
    output, report = hdr10
    highest, means = 0.0, []
    for planes in decoded(output)[1]:
        codes = upsample_chroma(*(torch.from_numpy(plane.astype(np.float64)) for plane in planes), "topleft")
        light = decode(codes / 1023, HDR10_VIDEO).clamp(min=0).amax(dim=0)
        highest = max(highest, float(light.max()))
        means.append(float(light.mean()))
    assert report.levels is not None
    assert report.levels[0] == pytest.approx(highest + 0.5, abs=1.0)  # rounded up
    assert report.levels[1] == pytest.approx(max(means) + 0.5, abs=0.6)
    wanted = b"".join(level.to_bytes(2) for level in report.levels)
    messages = hevc_messages(output)
    assert len(messages[144]) >= 3
    assert set(messages[144]) == {wanted}
    # SMPTE ST 2086 of ITU-T H.265, D.3.28: G, B, R, white in 1/50000, luminance in 1/10000.
    chromaticities = (8500, 39850, 6550, 2300, 35400, 14600, 15635, 16450)
    display = b"".join(x.to_bytes(2) for x in chromaticities) + (10**7).to_bytes(4) + (50).to_bytes(4)
    assert set(messages[137]) == {display}
    assert mp4_box(output, b"clli") == wanted
    assert mp4_box(output, b"mdcv") == display
    assert b"\xca\xfe\xba\xbe" not in output.read_bytes()


def test_nothing_but_the_finished_file_stays_behind(hdr10: tuple[Path, Report]) -> None:
    assert [path.name for path in hdr10[0].parent.iterdir()] == ["film.mp4"]


@pytest.mark.parametrize("model", [MODEL, "jsinet_x2"])
def test_lossless_codes_are_the_network_s_to_the_code(model: str, film: Path, tmp_path: Path) -> None:
    net = zoo.create(model, **({"scale": 2} if model == MODEL else {})).eval()
    if model != MODEL:
        save_file(net.state_dict(), tmp_path / "untrained.safetensors")
        model = f"{model}={tmp_path / 'untrained.safetensors'}"
    net = TiledNet(net)
    output = tmp_path / "film.mkv"
    convert(Request(film, output, model, codec="ffv1", part_frames=3, span=(0, 0.16)))
    written = decoded(output)[1]
    assert len(written) == 4
    for (y, cb, cr), planes in zip(decoded(film)[1][:4], written, strict=True):
        sdr = upsample_chroma(*(torch.from_numpy(plane.astype(np.float32)) for plane in (y, cb, cr)), "left") / 255
        with torch.inference_mode():
            codes = quantize(1023 * net(sdr[None])[0], HDR10_VIDEO).numpy()
        np.testing.assert_array_equal(np.stack(planes), codes)


def test_variable_rate_rotation_and_pixel_aspect_are_kept(tmp_path: Path) -> None:
    times = [0, 40, 120, 160, 400, 420, 430, 440, 500]
    frames = sdr_frames(9)
    film = write_video(
        tmp_path / "phone.mp4",
        frames,
        "yuv420p",
        SDR,
        "libx264",
        times,
        {"qp": "0"},
        rotation=90,
        sample_aspect_ratio=Fraction(16, 11),
    )
    for name in ("out.mp4", "out.mkv"):
        convert(Request(film, tmp_path / name, MODEL, options=FAST, part_frames=4))
        assert decoded(tmp_path / name)[0] == [Fraction(time, 1000) for time in times]
        video = open_video(tmp_path / name, any_aspect=True)
        assert (video.rotation, video.sample_aspect, video.coded_size) == (1, Fraction(16, 11), (96, 128))


@pytest.mark.parametrize(("codec", "ending"), [("hevc", "mp4"), ("hevc", "mkv"), ("av1", "mp4"), ("av1", "mkv")])
def test_frames_may_be_missing_anywhere_also_at_the_joints(codec: str, ending: str, tmp_path: Path) -> None:
    # x265 counts decoding times back from a part's first frame by its own next ones.
    options = {"x265-params": "pools=1:frame-threads=1:bframes=3:b-adapt=0"} if codec == "hevc" else {}
    rng = np.random.default_rng(1)
    steps = (
        [33] * 24 + [66, 33, 33, 500, 33, 33, 33, 16, 66, 66, 16, 16] + [int(step) for step in rng.integers(1, 200, 24)]
    )
    times = np.cumsum([0, *steps]).tolist()
    frames = sdr_frames(len(times))
    film = write_video(tmp_path / "phone.mp4", frames, "yuv420p", SDR, "libx264", times, {"qp": "0", "g": "6"})
    output = tmp_path / f"out.{ending}"
    convert(Request(film, output, MODEL, codec=codec, options=options, part_frames=6))
    assert decoded(output)[0] == [Fraction(time, 1000) for time in times]
    with av.open(str(output)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    if ending == "mp4":  # Matroska has no decoding times
        decoding = [packet.dts for packet in packets]
        assert all(first < second for first, second in itertools.pairwise(decoding))
        assert all(packet.dts <= packet.pts for packet in packets)


@pytest.mark.parametrize(
    ("codec", "ending"), [("hevc", "mp4"), ("hevc", "mkv"), ("av1", "mp4"), ("av1", "mkv"), ("ffv1", "mp4")]
)
def test_a_start_between_milliseconds_and_the_shape_of_pixels_are_kept(codec: str, ending: str, tmp_path: Path) -> None:
    shape = Fraction(16, 15)
    options = {"bf": "0", "g": "3"}
    silent = write_video(
        tmp_path / "a.mkv", sdr_frames(6), "yuv420p", SDR, "libx264", None, options, sample_aspect_ratio=shape
    )
    with av.open(str(silent)) as source, av.open(str(tmp_path / "a.ts"), "w") as stream:
        copied = stream.add_stream_from_template(source.streams.video[0], opaque=True)
        for packet in source.demux(video=0):
            if packet.size:
                packet.time_base = Fraction(1, 90000)
                packet.pts = packet.dts = 90 * packet.pts + 127_920
                packet.stream = copied
                stream.mux(packet)
    output = tmp_path / f"out.{ending}"
    if (codec, ending) == ("av1", "mkv"):
        with pytest.raises(ConfigError, match=r"can't say that pixels are 16:15; write .mp4"):
            convert(Request(tmp_path / "a.ts", output, MODEL, codec=codec))
        return
    convert(Request(tmp_path / "a.ts", output, MODEL, codec=codec, part_frames=3))
    with av.open(str(output)) as container:
        assert container.streams.video[0].sample_aspect_ratio == shape
    shown, wanted = decoded(output)[0], decoded(tmp_path / "a.ts")[0]
    assert 1000 % wanted[0].denominator
    offset = 0 if ending == "mp4" else shown[0] - wanted[0]  # Matroska counts milliseconds
    assert [time - offset for time in shown] == pytest.approx(wanted, abs=0 if ending == "mp4" else 1e-3)


def test_a_range_starts_at_its_own_zero_with_its_own_sound(film: Path, tmp_path: Path) -> None:
    output = tmp_path / "range.mp4"
    report = convert(Request(film, output, MODEL, codec="ffv1", span=(0.16, 0.32)))
    whole = tmp_path / "whole.mp4"
    convert(Request(film, whole, MODEL, codec="ffv1"))
    times, planes = decoded(output)
    assert (report.frames, times) == (4, [Fraction(n, 25) for n in range(4)])
    for found, wanted in zip(planes, decoded(whole)[1][4:8], strict=True):
        np.testing.assert_array_equal(found, wanted)
    sound = audio_packets(output)
    assert 0.15 < sum(1024 / 48000 for _ in sound) < 0.21
    assert -0.022 < float(sound[0][0]) < 0.022


def test_a_range_that_starts_inside_a_subtitle_has_the_rest_of_it(film: Path, tmp_path: Path) -> None:
    (tmp_path / "a.srt").write_text(
        "1\n00:00:00,040 --> 00:00:00,220\nfirst\n\n2\n00:00:00,280 --> 00:00:00,400\nsecond\n"
    )
    with (
        av.open(str(film)) as pictures,
        av.open(str(tmp_path / "a.srt")) as text,
        av.open(str(tmp_path / "a.mkv"), "w") as container,
    ):
        sources = (pictures.streams.video[0], text.streams.subtitles[0])
        copied = [container.add_stream_from_template(source, opaque=True) for source in sources]
        for source, stream, target in zip((pictures, text), sources, copied, strict=True):
            for packet in source.demux(stream):
                if packet.size:
                    packet.stream = target
                    container.mux(packet)
    output = tmp_path / "out.mkv"
    convert(Request(tmp_path / "a.mkv", output, MODEL, options=FAST, span=(0.16, 0.36)))
    assert decoded(output)[0] == [Fraction(n, 25) for n in range(5)]
    with av.open(str(output)) as container:
        base = container.streams.subtitles[0].time_base
        cues = [(float(p.pts * base), float(p.duration * base)) for p in container.demux(subtitles=0) if p.size]
    assert cues == [pytest.approx((0, 0.06)), pytest.approx((0.12, 0.08))]


def test_what_is_not_copied_is_said_and_names_may_hold_colons(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with av.open(str(film)) as source, av.open(str(tmp_path / "12:30 a.mkv"), "w") as container:
        copied = [container.add_stream_from_template(source.streams.video[0], opaque=True) for _ in range(2)]
        copied[0].metadata["title"] = "the left eye"
        for packet in source.demux(video=0):
            if packet.size:
                pts, dts = packet.pts, packet.dts
                for stream in copied:
                    packet.stream, packet.pts, packet.dts = stream, pts, dts
                    container.mux(packet)
                    packet.time_base = source.streams.video[0].time_base
    monkeypatch.chdir(tmp_path)
    report = convert(Request(Path("12:30 a.mkv"), Path("12:31 a.mkv"), MODEL, options=FAST))
    assert any(note.startswith("video stream 1 (h264) isn't copied") for note in report.notes)
    with av.open(str(tmp_path / "12:31 a.mkv")) as container:
        assert container.streams.video[0].metadata["title"] == "the left eye"


def test_chapters_of_a_range_are_counted(film: Path, tmp_path: Path) -> None:
    report = convert(Request(film, tmp_path / "out.mkv", MODEL, options=FAST, span=(0, 0.16)))
    assert "copied: 1 streams of sound and subtitles, 1 chapters" in report.notes


def test_hdr10_without_tags_is_refused(tmp_path: Path) -> None:
    params = ":".join(["log-level=none", *x265_parameters()])
    path = write_video(
        tmp_path / "a.mp4", textured(4, (48, 128)), "yuv420p10le", UNTAGGED, "libx265", options={"x265-params": params}
    )
    with pytest.raises(DataError, match=r"light levels of HDR10.*--signal"):
        convert(Request(path, tmp_path / "out.mkv", MODEL, codec="ffv1"))
    stated = Signal("bt709", "bt1886", "ycbcr709", "narrow", 10)
    convert(Request(path, tmp_path / "out.mkv", MODEL, codec="ffv1", signal=stated))


def test_untagged_film_follows_the_rule_of_players_and_says_so(tmp_path: Path) -> None:
    untagged = write_video(tmp_path / "a.mkv", sdr_frames(2), "yuv420p", UNTAGGED)
    report = convert(Request(untagged, tmp_path / "a.mp4", MODEL, options=FAST))
    (note,) = [note for note in report.notes if "--signal" in note]
    assert "smpte170m-bt1886-ycbcr601-narrow-8" in note
    stated = convert(Request(untagged, tmp_path / "b.mp4", MODEL, options=FAST, signal=SDR_VIDEO))
    assert not [note for note in stated.notes if "--signal" in note]
    assert digest(tmp_path / "a.mp4") != digest(tmp_path / "b.mp4")
    tagged = write_video(tmp_path / "c.mkv", sdr_frames(2), "yuv420p", SDR)
    with pytest.raises(DataError, match="contradicts --signal"):
        convert(Request(tagged, tmp_path / "c.mp4", MODEL, signal=Signal.parse("bt2020-bt1886-ycbcr2020-narrow-8")))


def test_ten_bit_and_full_chroma_are_taken_as_they_are(tmp_path: Path) -> None:
    for pixel_format, depth, chroma in (("yuv444p10le", 10, (1, 1)), ("yuv422p", 8, (1, 2))):
        film = write_video(tmp_path / f"{pixel_format}.mkv", textured(2, (48, 64), depth, chroma), pixel_format, SDR)
        report = convert(Request(film, tmp_path / f"{pixel_format}.mp4", MODEL, options=FAST))
        assert report.frames == 2


def test_hlg_is_tagged_so_and_has_no_light_levels(film: Path, tmp_path: Path) -> None:
    report = convert(Request(film, tmp_path / "hlg.mp4", MODEL, transfer="hlg", options=FAST, span=(0, 0.1)))
    with av.open(str(tmp_path / "hlg.mp4")) as container:
        frame = next(container.decode(video=0))
        assert (frame.color_primaries, frame.color_trc, frame.colorspace, frame.color_range) == (9, 18, 9, 1)
    assert report.levels is None
    assert {137, 144}.isdisjoint(hevc_messages(tmp_path / "hlg.mp4"))


def test_av1_carries_the_measured_levels_in_mkv_and_mp4(film: Path, tmp_path: Path) -> None:
    for name in ("film.mkv", "film.mp4"):
        options = {"preset": "12", "svtav1-params": "lp=1"}
        report = convert(Request(film, tmp_path / name, MODEL, codec="av1", options=options, part_frames=6))
        assert report.levels is not None
        with av.open(str(tmp_path / name)) as container:
            stream = container.streams.video[0]
            assert stream.codec_context.name in ("libdav1d", "av1")
            frames = list(container.decode(stream))
        assert len(frames) == 12
        levels = b"".join(level.to_bytes(4, "little") for level in report.levels)
        assert bytes(memoryview(frames[-1].side_data.get("CONTENT_LIGHT_LEVEL"))) == levels
        assert audio_packets(tmp_path / name)[0][1] == audio_packets(film)[0][1]


def test_raw_planes_are_the_codes_that_ffv1_would_hold(film: Path, tmp_path: Path) -> None:
    convert(Request(film, tmp_path / "film.yuv", MODEL, part_frames=5))
    codes = np.fromfile(tmp_path / "film.yuv", "<u2").reshape(12, -1)
    assert codes.shape[1] == 96 * 128 * 3 // 2
    convert(Request(film, tmp_path / "film.mkv", MODEL, codec="ffv1"))
    for raw, (luma, _, _) in zip(codes, decoded(tmp_path / "film.mkv")[1], strict=True):
        np.testing.assert_array_equal(raw[: 96 * 128].reshape(96, 128), luma)


def test_bars_are_black_and_don_t_count_among_the_light(tmp_path: Path) -> None:
    frames = []
    for luma, cb, cr in sdr_frames(4):
        luma[:8], luma[-8:] = 17, 18  # a coded bar isn't quite black
        for chroma in (cb, cr):
            chroma[:4], chroma[-4:] = 128, 128
        frames.append((luma, cb, cr))
    film = write_video(tmp_path / "wide.mkv", frames, "yuv420p", SDR)
    report = convert(Request(film, tmp_path / "wide-hdr.mkv", MODEL, codec="ffv1"))
    for luma, cb, cr in decoded(tmp_path / "wide-hdr.mkv")[1]:
        assert (luma[:16] == 64).all()
        assert (luma[-16:] == 64).all()
        assert (cb[:16] == 512).all()
        assert (cr[-16:] == 512).all()
        assert (luma[16:-16] > 64).mean() > 0.9
    assert any("8 rows above, 8 below" in note for note in report.notes)
    meter = LightMeter(HDR10_VIDEO, "topleft")
    for planes in decoded(tmp_path / "wide-hdr.mkv")[1]:
        meter.update([plane[16:-16] for plane in planes])
    assert report.levels == meter.levels.message


@pytest.mark.parametrize("after", [1, 2])
def test_killed_at_a_part_the_same_command_goes_on_and_gives_the_same_frames(
    after: int, film: Path, hdr10: tuple[Path, Report], tmp_path: Path, root: Path
) -> None:
    output = tmp_path / "film.mp4"
    command = [sys.executable, str(root / "tools" / "convert.py"), str(film), str(output), "--model", MODEL]
    command += ["--part", "4", "--encoder", *(f"{key}={value}" for key, value in FAST.items())]
    # It waits within the part after those that it may finish.
    stopper = (
        "import sys, time, runpy; sys.argv = sys.argv[1:]; sys.path.insert(0, sys.argv.pop(0)); "
        "import zoo.convert.parts as parts; make = parts.encode\n"
        "def encode(path, *rest):\n"
        f"    time.sleep(600 * ({after} <= len(list(path.parent.glob('0*.json')))))\n"
        "    return make(path, *rest)\n"
        "parts.encode = encode; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    process = subprocess.Popen([sys.executable, "-c", stopper, str(root), *command[1:]], stderr=subprocess.DEVNULL)
    work = tmp_path / ".film.mp4-converting"
    limit = time.monotonic() + 120
    while len(list(work.glob("0*.json"))) < after:
        assert process.poll() is None
        assert time.monotonic() < limit
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not output.exists()
    report = convert(Request(film, output, MODEL, options=FAST, part_frames=4))
    assert report.resumed == 4 * after
    assert digest(output) == digest(hdr10[0])
    assert report.levels == hdr10[1].levels
    assert not work.exists()


def test_unfinished_parts_of_another_conversion_are_not_taken(film: Path, tmp_path: Path) -> None:
    output = tmp_path / "film.mp4"

    class Stop(Exception):
        pass

    def stop(progress: Progress) -> None:
        if progress.part == 2:
            raise Stop

    request = Request(film, output, MODEL, options=FAST, part_frames=4)
    with pytest.raises(Stop):
        convert(request, stop)
    assert not output.exists()
    with pytest.raises(DataError, match="another encoder"):
        convert(Request(film, output, MODEL, options={**FAST, "crf": "30"}, part_frames=4))
    assert convert(request).resumed == 4


def test_an_interrupted_first_part_leaves_nothing(film: Path, tmp_path: Path) -> None:
    def stop(progress: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(Request(film, tmp_path / "film.mp4", MODEL, options=FAST), stop)
    assert list(tmp_path.iterdir()) == []


def test_progress_counts_every_frame_and_part(film: Path, tmp_path: Path) -> None:
    told: list[Progress] = []
    convert(Request(film, tmp_path / "film.yuv", MODEL, part_frames=4), told.append)
    assert [progress.done for progress in told] == list(range(1, 13))
    assert {progress.total for progress in told} == {12}
    assert [progress.part for progress in told] == [1] * 4 + [2] * 4 + [3] * 4


def test_parts_begin_at_key_frames_unless_these_are_far_apart() -> None:
    keys = np.array([0, 90, 130, 200, 900])
    assert cut(range(1000), keys, 100) == [
        range(130),
        range(130, 230),
        *(range(start, start + 100) for start in range(230, 730, 100)),
        range(730, 900),
        range(900, 1000),
    ]
    assert cut(range(22), keys, 10) == [range(10), range(10, 22)]  # x265 can't write two frames by themselves
    assert cut(range(5, 20), keys, 100) == [range(5, 20)]


def test_two_workers_give_the_same_file(film: Path, hdr10: tuple[Path, Report], tmp_path: Path) -> None:
    report = convert(Request(film, tmp_path / "film.mp4", MODEL, options=FAST, part_frames=4, workers=2))
    assert report.frames == 12
    assert digest(tmp_path / "film.mp4") == digest(hdr10[0])


def test_a_film_that_ends_early_is_refused_with_the_range_that_is_there(film: Path, tmp_path: Path) -> None:
    whole = write_video(tmp_path / "whole.mkv", sdr_frames(60), "yuv420p", SDR)
    cut_path = tmp_path / "cut.mkv"
    cut_path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(DataError, match=r"cut at .*--range 0s-"):
        convert(Request(cut_path, tmp_path / "out.mp4", MODEL))
    assert not (tmp_path / "out.mp4").exists()


def test_a_preview_is_written_beside_the_output_first(film: Path, tmp_path: Path) -> None:
    convert(Request(film, tmp_path / "out.mkv", MODEL, codec="ffv1", preview=True))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.mkv", "out.preview.mkv", "out.preview.png"]
    picture = cv2.imread(str(tmp_path / "out.preview.png"))
    assert picture.shape == (96, 256, 3)
    # HDR by the curve that undoes the grading looks like the SDR beside it.
    assert np.corrcoef(picture[:, :128].ravel(), picture[:, 128:].ravel())[0, 1] > 0.9
    with pytest.raises(ConfigError, match="overwrite"):
        convert(Request(film, tmp_path / "out.mp4", MODEL, preview=True, options=FAST))
    # As a kill leaves it, after the preview.
    (tmp_path / "out.mkv").unlink()
    (tmp_path / ".out.mkv-converting").mkdir()
    before = (tmp_path / "out.preview.png").stat().st_mtime_ns
    convert(Request(film, tmp_path / "out.mkv", MODEL, codec="ffv1", preview=True))
    assert (tmp_path / "out.mkv").is_file()
    assert (tmp_path / "out.preview.png").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("codec", "options"),
    [
        ("hevc", {"x265-params": "max-cll=500,100"}),
        ("hevc", {"x265-params": "colormatrix=bt709"}),
        ("hevc", {"color_range": "pc"}),
        ("hevc", {"pixel_format": "yuv420p"}),
        ("hevc", {"time_base": "1/5"}),
        ("av1", {"crf": "99"}),
        ("av1", {"preset": "99"}),
        ("av1", {"svtav1-params": "content-light=5,5"}),
    ],
)
def test_options_that_cannot_work_are_refused_before_any_work(
    codec: str, options: dict[str, str], film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zoo.convert.film.make_part", lambda *_: pytest.fail("work was begun"))
    with pytest.raises(ConfigError, match=next(iter(options))):
        convert(Request(film, tmp_path / "out.mp4", MODEL, codec=codec, options=options))
    assert not list(tmp_path.iterdir())


def test_odd_sides_are_refused_for_hevc_and_taken_by_ffv1(tmp_path: Path) -> None:
    film = write_video(tmp_path / "odd.mkv", sdr_frames(2, (47, 63)), "yuv420p", SDR)
    with pytest.raises(ConfigError, match="even sides"):
        convert(Request(film, tmp_path / "out.mkv", MODEL, scale=1))
    report = convert(Request(film, tmp_path / "out.mkv", MODEL, scale=1, codec="ffv1"))
    assert "63x47" in report.written


@pytest.mark.parametrize(
    ("codec", "options"), [("hevc", FAST), ("hevc", FAST | {"x265-params": "lossless=1"}), ("ffv1", {}), ("raw", {})]
)
def test_an_encoder_that_writes_other_pictures_is_found_out(
    codec: str, options: dict[str, str], film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def encode_others(path: Path, frames: Iterable[tuple[int, Planes]], *how: Any) -> int:
        def spoiled() -> Iterator[tuple[int, Planes]]:
            for number, (shown, (y, cb, cr)) in enumerate(frames):
                if number == 7:
                    y = y.copy()
                    if lossless:
                        y[0, 0] ^= 1
                    else:
                        y[:24, :32] = 0  # a sixteenth
                yield shown, (y, cb, cr)

        return encode(path, spoiled(), *how)

    lossless = options is not FAST
    output = tmp_path / ("out.yuv" if codec == "raw" else "out.mkv")
    convert(Request(film, output, MODEL, codec=codec, options=options))
    monkeypatch.setattr("zoo.convert.parts.encode", encode_others)
    with pytest.raises(DataError, match="wrote another picture for frame 7 than it was given"):
        convert(Request(film, tmp_path / f"again{output.suffix}", MODEL, codec=codec, options=options))
    assert not (tmp_path / f"again{output.suffix}").exists()


def test_films_too_narrow_for_x265_are_refused(tmp_path: Path) -> None:
    film = write_video(tmp_path / "narrow.mkv", sdr_frames(2, (48, 64)), "yuv420p", SDR)
    with pytest.raises(ConfigError, match=r"64x48 can't be HEVC .* 66 columns .* --codec av1"):
        convert(Request(film, tmp_path / "out.mkv", MODEL, scale=1))
