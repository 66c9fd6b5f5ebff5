from __future__ import annotations

import logging
import pickle
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from datamodules.sources.video import HDRVideo
from datamodules.sources.video_file import open_video
from tests.datamodules.sources.video_files import HDR10, HLG, SDR, UNTAGGED, textured, write_video
from zoo.errors import DataError

X265_LOSSLESS = {"x265-params": "lossless=1:log-level=error", "preset": "ultrafast"}


def luma(video: HDRVideo, *numbers: int | None) -> dict[int, torch.Tensor]:
    return {frame.number: frame.hdr.values[0] for frame in video.frames(*numbers)}


def independent_planes(path: Path) -> list[list[np.ndarray]]:
    """Planes of all frames, by PyAV's own arrays of the packed planes rather than by the source's reader."""
    with av.open(str(path)) as container:
        frames = []
        for frame in container.decode(video=0):
            packed = frame.to_ndarray()
            rows = frame.height + frame.height // 4
            frames.append(
                [
                    packed[: frame.height],
                    packed[frame.height : rows].reshape(frame.height // 2, -1),
                    packed[rows:].reshape(frame.height // 2, -1),
                ]
            )
    return frames


@pytest.mark.parametrize(
    ("pixel_format", "depth", "chroma"),
    [
        ("yuv420p10le", 10, (2, 2)),
        ("yuv422p10le", 10, (1, 2)),
        ("yuv444p10le", 10, (1, 1)),
        ("yuv444p12le", 12, (1, 1)),
        ("gbrp10le", 10, (1, 1)),
        ("gbrp16le", 16, (1, 1)),
    ],
)
@pytest.mark.parametrize("size", [(36, 52), (35, 51)], ids=["even", "odd"])
def test_codes_come_out_as_they_went_in(
    tmp_path: Path, pixel_format: str, depth: int, chroma: tuple[int, int], size: tuple[int, int]
) -> None:
    frames = textured(3, size, depth, chroma)
    tags = (9, 16, 0, 2) if pixel_format.startswith("gbr") else HDR10
    video = HDRVideo(write_video(tmp_path / "a.mkv", frames, pixel_format, tags))
    matrix, codes_range = ("rgb", "full") if pixel_format.startswith("gbr") else ("ycbcr2020", "narrow")
    assert str(video.signal) == f"bt2020-pq-{matrix}-{codes_range}-{depth}"
    assert (video.size, video.frame_count) == (size, 3)
    peak = 2**depth - 1
    rows, columns = chroma
    for frame, codes in zip(video.frames(), frames, strict=True):
        assert frame.hdr.values.shape == (3, *size)
        assert frame.hdr.values.dtype == torch.float64
        # Sited top-left, chroma samples lie on pixels.
        for channel, plane, (row, column) in zip(frame.hdr.values, codes, [(1, 1), chroma, chroma], strict=True):
            expected = torch.from_numpy(plane.astype(np.float64)) / peak
            if (rows, columns) == (1, 2) or row == 1 or columns == 2:
                assert torch.equal(channel[::row, ::column], expected)


def test_chroma_of_420_is_sited_as_stated(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", textured(1))
    values = {siting: next(HDRVideo(path, siting=siting).frames()).hdr.values for siting in ("left", "topleft")}
    assert HDRVideo(path).siting == "topleft"
    assert torch.equal(values["left"][0], values["topleft"][0])
    on_pixels = values["topleft"][1, ::2, ::2]
    between_rows = values["left"][1, 1:-1:2, ::2]
    torch.testing.assert_close(between_rows, 0.75 * on_pixels[:-1] + 0.25 * on_pixels[1:], rtol=0, atol=1e-12)


def test_hdr10_clip_equals_an_independent_decode(reference: Path) -> None:
    path = reference / "data" / "video" / "hdr10-video-with-sdr-container.mp4"
    video = HDRVideo(path)
    assert str(video.signal) == "bt2020-pq-ycbcr2020-narrow-10"
    independent = independent_planes(path)
    assert video.frame_count == len(independent) == 28
    for frame in video.frames(0, None, 9):
        y, cb, cr = (torch.from_numpy(plane.astype(np.float64)) for plane in independent[frame.number])
        codes = 1023 * frame.hdr.values
        assert (codes[0] - y).abs().max() < 1e-9
        for channel, plane in ((codes[1], cb), (codes[2], cr)):
            assert (channel[::2, ::2] - plane).abs().max() < 1e-9
            between = (plane[:, :-1] + plane[:, 1:]) / 2
            assert (channel[::2, 1:-1:2] - between).abs().max() < 1e-9


@pytest.mark.parametrize(
    ("name", "signal", "size", "count"),
    [
        ("hlg10-color-test.mp4", "bt2020-hlg-ycbcr2020-narrow-10", (1080, 1920), 9),
        ("hdr10plus_black_256x144.mkv", "bt2020-pq-ycbcr2020-narrow-10", (144, 256), 259),
        ("dolbyVision-hdr.MOV", "bt2020-hlg-ycbcr2020-narrow-10", (1280, 720), 4),
    ],
)
def test_real_hdr_clips_are_taken_by_their_tags(
    reference: Path, name: str, signal: str, size: tuple[int, int], count: int
) -> None:
    video = HDRVideo(reference / "data" / "video" / name)
    assert (str(video.signal), video.size, video.frame_count) == (signal, size, count)
    frames = list(video.frames(0, None, max(1, count // 4)))
    assert frames[0].hdr.values.shape == (3, *size)
    assert len(frames) == len(range(0, count, max(1, count // 4)))


def test_untagged_clip_needs_an_answer_and_frames_that_are_never_shown_are_not_counted(reference: Path) -> None:
    path = reference / "data" / "video" / "roadtrip-vp92-10bit.webm"
    with pytest.raises(
        DataError, match=r"doesn't say its primaries, transfer .* --signal bt2020-pq-ycbcr2020-narrow-10"
    ):
        HDRVideo(path)
    video = HDRVideo(path, "bt2020-hlg-ycbcr2020-narrow-10")
    assert video.frame_count == 72  # of 80 packets
    whole = luma(video)
    assert list(whole) == list(range(72))
    for start, stride in ((1, 7), (42, 30), (71, 1)):
        part = luma(video, start, None, stride)
        assert list(part) == list(range(start, 72, stride))
        assert all(torch.equal(part[number], whole[number]) for number in part)


@pytest.mark.parametrize("name", ["bigbuckbunny.mp4", "cockatoo.mp4"])
def test_8_bit_video_is_refused_as_hdr(reference: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"has 8 bits .* HDR needs 10 or more"):
        HDRVideo(reference / "data" / "video" / name, "bt2020-pq-ycbcr2020-narrow-8")


def test_8_bit_video_with_hdr_tags_is_refused(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", textured(2, depth=8), "yuv420p", HDR10)
    with pytest.raises(DataError, match="has 8 bits"):
        HDRVideo(path)


def test_10_bit_sdr_is_refused_as_hdr(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is SDR \(bt709-bt1886-ycbcr709-narrow-10\)"):
        HDRVideo(write_video(tmp_path / "a.mkv", textured(2), tags=SDR))


def test_stated_signal_completes_tags_but_must_not_contradict_them(tmp_path: Path) -> None:
    tagged = write_video(tmp_path / "tagged.mkv", textured(2))
    untagged = write_video(tmp_path / "untagged.mkv", textured(2), tags=UNTAGGED)
    assert HDRVideo(tagged, "bt2020-pq-ycbcr2020-narrow-10").signal == HDRVideo(tagged).signal
    assert str(HDRVideo(untagged, "p3d65-hlg-ycbcr2020-full-10").signal) == "p3d65-hlg-ycbcr2020-full-10"
    with pytest.raises(DataError, match="doesn't say its primaries, transfer, matrix, full_range"):
        HDRVideo(untagged)
    with pytest.raises(DataError, match=r"is tagged 9/16/9 narrow \(H\.273\), which contradicts --signal bt2020-hlg"):
        HDRVideo(tagged, "bt2020-hlg-ycbcr2020-narrow-10")
    with pytest.raises(DataError, match=r"contradicts --signal bt2020-pq-ycbcr2020-full-10"):
        HDRVideo(tagged, "bt2020-pq-ycbcr2020-full-10")
    with pytest.raises(DataError, match=r"has 10 bits .* but --signal .*-12 says others"):
        HDRVideo(untagged, "bt2020-pq-ycbcr2020-narrow-12")


def test_bitstream_wins_over_a_container_with_other_tags_and_a_warning_tells(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_video(
        tmp_path / "a.mp4", textured(3, (64, 128)), codec="libx265", options=X265_LOSSLESS, codec_tag="hvc1"
    )
    data = path.read_bytes()
    colour = data.index(b"colrnclx") + 8
    path.write_bytes(data[:colour] + struct.pack(">3HB", 1, 1, 1, 0x80) + data[colour + 7 :])
    with caplog.at_level(logging.WARNING):
        videos = [HDRVideo(path), HDRVideo(path)]
    assert all(str(video.signal) == "bt2020-pq-ycbcr2020-narrow-10" for video in videos)
    (record,) = caplog.records
    assert "differ in primaries, transfer, matrix, full_range (1/1/1 full and 9/16/9 narrow" in record.getMessage()


@pytest.mark.parametrize(("low", "high"), [(300, 1023), (0, 700)], ids=["black", "white"])
def test_full_range_pictures_tagged_narrow_are_refused(tmp_path: Path, low: int, high: int) -> None:
    frames = [(np.where(y < low, 0, np.where(y > high, 1023, y)).astype("<u2"), cb, cr) for y, cb, cr in textured(2)]
    with pytest.raises(DataError, match=r"a\.mkv: \d+ % of frame 0 lies outside the codes of narrow range"):
        list(HDRVideo(write_video(tmp_path / "a.mkv", frames)).frames())
    tags = (9, 16, 9, 2)
    assert len(list(HDRVideo(write_video(tmp_path / "b.mkv", frames, tags=tags)).frames())) == 2


@pytest.mark.parametrize(
    ("codec", "name", "options"),
    [
        ("libx264", "a.mp4", {"qp": "0", "preset": "veryfast", "g": "12", "bf": "3"}),
        ("libx264", "a.mkv", {"crf": "20", "preset": "veryfast", "g": "12", "bf": "3", "x264-params": "open-gop=1"}),
        ("libx264", "a.ts", {"crf": "20", "preset": "veryfast", "g": "12", "bf": "3", "x264-params": "open-gop=1"}),
        ("libx265", "a.mp4", {"x265-params": "lossless=1:keyint=12:open-gop=1:log-level=error", "preset": "fast"}),
        ("libx265", "a.mkv", {"x265-params": "lossless=1:keyint=12:open-gop=1:log-level=error", "preset": "fast"}),
    ],
)
def test_any_start_and_stride_gives_the_frames_of_decoding_from_the_start(
    tmp_path: Path, codec: str, name: str, options: dict[str, str]
) -> None:
    video = HDRVideo(write_video(tmp_path / name, textured(60, (64, 128)), codec=codec, options=options))
    assert video.frame_count == 60
    assert len(video._video.keys) > 3
    whole = luma(video)
    assert list(whole) == list(range(60))
    for start, stop, stride in ((0, None, 50), (11, 30, 1), (13, 14, 1), (25, None, 34), (59, None, 1), (7, 7, 1)):
        part = luma(video, start, stop, stride)
        assert list(part) == list(range(60))[start:stop:stride]
        assert all(torch.equal(part[number], whole[number]) for number in part)


def test_variable_frame_rate_keeps_the_times_of_frames(tmp_path: Path) -> None:
    times = [0, 40, 120, 121, 500, 533]
    video = HDRVideo(write_video(tmp_path / "a.mkv", textured(6), milliseconds=times))
    assert [frame.meta["time"] for frame in video.frames()] == pytest.approx([time / 1000 for time in times])
    assert [(frame.number, frame.meta["time"]) for frame in video.frames(4)] == [(4, 0.5), (5, pytest.approx(0.533))]


@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_display_matrix_turns_the_picture_upright(tmp_path: Path, rotation: int) -> None:
    frames = textured(1, (64, 96))
    path = write_video(tmp_path / "a.mkv", frames, rotation=rotation)
    video = HDRVideo(path)
    expected = np.rot90(frames[0][0], rotation // 90)
    assert video.size == expected.shape
    assert torch.equal(1023 * next(video.frames()).hdr.values[0], torch.from_numpy(expected.astype(np.float64)))


def test_pixels_that_are_not_square_are_refused(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", textured(1), codec="libx264", sample_aspect_ratio=Fraction(4, 3))
    with pytest.raises(DataError, match=r"pixels aren't square \(sample aspect 4:3\)"):
        HDRVideo(path)


def test_interlaced_video_is_refused(tmp_path: Path) -> None:
    options = {"x264-params": "interlaced=1:qp=0", "preset": "ultrafast"}
    path = write_video(tmp_path / "a.mp4", textured(2, (64, 64)), codec="libx264", options=options)
    with pytest.raises(DataError, match="frame 0 is interlaced; deinterlace"):
        HDRVideo(path)


def test_grey_video_is_refused(tmp_path: Path) -> None:
    frames = [codes[:1] for codes in textured(2)]
    with pytest.raises(DataError, match=r"is grey \(gray10le\)"):
        HDRVideo(write_video(tmp_path / "a.mkv", frames, "gray10le"))


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such file"), (b"", "can't be read as video"), (b"HDR10 film\n" * 400, "can't be read as video")],
    ids=["missing", "empty", "text"],
)
def test_what_is_no_video_is_refused_in_one_line(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "a.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=message) as refusal:
        HDRVideo(path)
    assert "\n" not in str(refusal.value)


def test_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is a folder"):
        HDRVideo(tmp_path)


def with_index_in_front(path: Path) -> bytes:
    """The bytes of an .mp4 whose index stands before its frames."""
    fast = path.with_name("fast.mp4")
    with av.open(str(path)) as source, av.open(str(fast), "w", options={"movflags": "+faststart"}) as target:
        stream = target.add_stream_from_template(source.streams.video[0], opaque=True)
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    return fast.read_bytes()


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4"])
def test_truncated_file_gives_its_frames_and_then_says_how_many_are_missing(tmp_path: Path, name: str) -> None:
    path = write_video(tmp_path / name, textured(40), codec="ffv1")
    data = with_index_in_front(path) if name.endswith("mp4") else path.read_bytes()
    path.write_bytes(data[: len(data) // 2])

    video = HDRVideo(path)
    assert video.shots()[-1] < 30
    given = []
    with pytest.raises(DataError, match=r"(cut|damaged) .*; \d+ of about 40 frames can be read") as loss:
        given.extend(frame.number for frame in video.frames())
    assert 10 < len(given) < 30
    assert given == list(range(len(given)))
    assert f"; {len(given)} of about 40" in str(loss.value)
    # A range within what is there is whole, one beyond it is lost, so parts of a film can be told apart.
    assert len(list(video.frames(0, len(given)))) == len(given)
    with pytest.raises(DataError, match="get the whole file"):
        list(video.frames(35, 40))


def test_coded_mp4_cut_behind_its_index_gives_its_frames_and_then_says_how_many_are_missing(tmp_path: Path) -> None:
    options = {"x265-params": "crf=12:keyint=5:bframes=2:log-level=error", "preset": "fast"}
    path = write_video(tmp_path / "a.mp4", textured(40, (64, 128)), codec="libx265", options=options)
    data = with_index_in_front(path)
    for share in (0.5, 0.53, 0.56, 0.59):  # into packets of other kinds
        path.write_bytes(data[: round(share * len(data))])
        video = HDRVideo(path)
        assert video.shots()[-1] < 30
        given = []
        with pytest.raises(DataError, match=r"\d+ of about 40 frames can be read; get the whole file") as loss:
            given.extend(frame.number for frame in video.frames())
        assert len(given) > 10
        assert given == list(range(len(given)))
        assert f"; {len(given)} of about 40" in str(loss.value)
        with pytest.raises(DataError, match=r"\d+ of about 40 frames can be read; get the whole file"):
            list(video.frames(39))


def test_mp4_cut_before_its_index_is_refused(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", textured(10))
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match="is the file whole"):
        HDRVideo(path)


def test_damaged_data_is_an_error_at_the_frame_it_hits(tmp_path: Path) -> None:
    options = {"crf": "10", "preset": "veryfast", "bf": "0", "g": "5"}
    path = write_video(tmp_path / "a.mp4", textured(10, (64, 64)), codec="libx264", options=options)
    with av.open(str(path)) as container:
        position, size = next((p.pos, p.size) for n, p in enumerate(container.demux(video=0)) if n == 7)
    data = bytearray(path.read_bytes())
    data[position : position + size] = bytes(size)
    path.write_bytes(data)
    given = []
    with pytest.raises(DataError, match=r"frame 7 is (damaged|missing)|the data after frame 6 is damaged"):
        given.extend(frame.number for frame in HDRVideo(path).frames())
    assert given == list(range(7))
    assert [frame.number for frame in HDRVideo(path).frames(0, 5)] == list(range(5))


def test_dolby_vision_without_a_base_is_refused(reference: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from datamodules.sources import video_file

    path = reference / "data" / "video" / "dolbyVision-hdr.MOV"
    read = video_file._side_data

    def profile_5(frame: av.VideoFrame, kind: str) -> bytes | None:
        data = read(frame, kind)
        if kind != "DOVI_METADATA":
            return data
        assert data is not None
        header = struct.unpack_from("@N", data)[0]
        assert (data[header + 4], data[header + 10]) == (1, 0)  # vdr_rpu_profile of 8.4, narrow base
        return data[: header + 4] + b"\0" + data[header + 5 : header + 10] + b"\1" + data[header + 11 :]

    monkeypatch.setattr(video_file, "_side_data", profile_5)
    video_file._look_through.cache_clear()
    with pytest.raises(DataError, match="Dolby Vision profile 5"):
        open_video(path)


def test_source_survives_pickling_and_names_its_file(tmp_path: Path) -> None:
    path = write_video(tmp_path / "my film_4k.mkv", textured(3))
    video = pickle.loads(pickle.dumps(HDRVideo(path)))
    assert (video.scene, video.files(), video.panoramic) == ("my_film", [path], False)
    assert list(luma(video)) == [0, 1, 2]


def test_rewritten_file_is_looked_through_again(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", textured(3))
    assert HDRVideo(path).frame_count == 3
    write_video(path, textured(5), tags=HLG)
    video = HDRVideo(path)
    assert (video.frame_count, video.signal.transfer) == (5, "hlg")


def test_shots_begin_where_the_picture_changes(tmp_path: Path) -> None:
    dark = [(y // 4 + 64, cb, cr) for y, cb, cr in textured(12, (64, 64))]
    bright = [(y // 2 + 450, cb, cr) for y, cb, cr in textured(20, (64, 64))]
    path = write_video(tmp_path / "a.mkv", [*dark, *bright, *dark])
    video = HDRVideo(path)
    assert video.shots() == (0, 12, 32)
    assert HDRVideo(write_video(tmp_path / "b.mkv", bright)).shots() == (0,)


def test_shots_are_found_beyond_a_damaged_key_frame(tmp_path: Path) -> None:
    dark = [(y // 4 + 64, cb, cr) for y, cb, cr in textured(12, (64, 64))]
    bright = [(y // 2 + 450, cb, cr) for y, cb, cr in textured(12, (64, 64))]
    options = {"x264-params": "keyint=4:scenecut=0:bframes=0:crf=10", "preset": "veryfast"}
    path = write_video(tmp_path / "a.mp4", [*dark, *bright, *dark], codec="libx264", options=options)
    assert HDRVideo(path).shots() == (0, 12, 24)
    with av.open(str(path)) as container:
        place, size = next(
            (packet.pos, packet.size)
            for packet in container.demux(video=0)
            if packet.is_keyframe and packet.pts * packet.time_base == Fraction(12, 25)
        )
    data = bytearray(path.read_bytes())
    data[place : place + size] = bytes(size)
    path.write_bytes(data)
    assert HDRVideo(path).shots() == (0, 16, 24)
