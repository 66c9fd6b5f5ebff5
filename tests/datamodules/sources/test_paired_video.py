from __future__ import annotations

import logging
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from datamodules.sources.paired_video import PairedVideo
from tests.datamodules.sources.video_files import HDR10, SDR, UNTAGGED, Codes, textured, write_video
from zoo.errors import DataError

FRAMES = textured(30, (72, 104))


def graded(frames: list[Codes]) -> list[Codes]:
    """An 8-bit grading of 10-bit frames: brighter, with rolled-off highlights, and coarser for its codec."""
    luma = [255 * (y / 1023) ** 0.6 // 3 * 3 for y, _, _ in frames]
    return [
        (y.astype("u1"), (cb // 4).astype("u1"), (cr // 4).astype("u1"))
        for y, (_, cb, cr) in zip(luma, frames, strict=True)
    ]


def reduced(frames: list[Codes]) -> list[Codes]:
    """Half the size, by means of 2x2."""
    return [
        tuple(
            cv2.resize(plane, (plane.shape[1] // 2, plane.shape[0] // 2), interpolation=cv2.INTER_AREA)
            for plane in codes
        )
        for codes in frames
    ]


def write_hdr(folder: Path, frames: list[Codes] = FRAMES, **arguments: object) -> Path:
    return write_video(folder / "film.mkv", frames, **arguments)


def write_sdr(folder: Path, frames: list[Codes], name: str = "sdr.mkv", **arguments: object) -> Path:
    return write_video(folder / name, frames, "yuv420p", **{"tags": SDR, **arguments})


def test_frames_come_in_pairs_with_the_codes_of_both_files(tmp_path: Path) -> None:
    sdr = graded(FRAMES)
    pair = PairedVideo(write_hdr(tmp_path), write_sdr(tmp_path, sdr))
    pair = pickle.loads(pickle.dumps(pair))
    assert (pair.scene, pair.frame_count, pair.size, pair.panoramic) == ("film", 30, (72, 104), False)
    assert [path.name for path in pair.files()] == ["film.mkv", "sdr.mkv"]
    frames = list(pair.frames(3, 30, 13))
    assert [frame.number for frame in frames] == [3, 16, 29]
    for frame in frames:
        assert frame.sdr is not None
        assert (str(frame.hdr.signal), str(frame.sdr.signal)) == (
            "bt2020-pq-ycbcr2020-narrow-10",
            "bt709-bt1886-ycbcr709-narrow-8",
        )
        assert torch.equal(1023 * frame.hdr.values[0], torch.from_numpy(FRAMES[frame.number][0].astype(np.float64)))
        assert torch.equal(255 * frame.sdr.values[0], torch.from_numpy(sdr[frame.number][0].astype(np.float64)))
        assert frame.meta == {"time": pytest.approx(0.04 * frame.number), "sdr_file": "sdr.mkv"}


def test_sdr_side_may_come_at_half_size(tmp_path: Path) -> None:
    pair = PairedVideo(write_hdr(tmp_path), write_sdr(tmp_path, reduced(graded(FRAMES))))
    frame = next(pair.frames())
    assert frame.sdr is not None
    assert (frame.hdr.values.shape, frame.sdr.values.shape) == ((3, 72, 104), (3, 36, 52))


def test_untagged_sdr_needs_an_answer(tmp_path: Path) -> None:
    hdr, sdr = write_hdr(tmp_path), write_sdr(tmp_path, graded(FRAMES), tags=UNTAGGED)
    with pytest.raises(DataError, match=r"sdr\.mkv: doesn't say .* --sdr-signal bt709-bt1886-ycbcr709-narrow-8"):
        PairedVideo(hdr, sdr)
    assert (
        str(PairedVideo(hdr, sdr, sdr_signal="bt709-srgb-ycbcr601-full-8").sdr_signal) == "bt709-srgb-ycbcr601-full-8"
    )


def test_sdr_side_with_hdr_tags_is_refused(tmp_path: Path) -> None:
    sdr = write_sdr(tmp_path, graded(FRAMES), tags=HDR10)
    with pytest.raises(DataError, match=r"sdr\.mkv: is HDR .* are the two files swapped\?"):
        PairedVideo(write_hdr(tmp_path), sdr)


def test_other_lengths_are_refused_with_both(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"film\.mkv has 30 frames, .*sdr\.mkv 29"):
        PairedVideo(write_hdr(tmp_path), write_sdr(tmp_path, graded(FRAMES[:-1])))


def test_other_shapes_are_refused(tmp_path: Path) -> None:
    sdr = [(y[:, :102], cb[:, :51], cr[:, :51]) for y, cb, cr in graded(FRAMES)]
    with pytest.raises(DataError, match=r"is 104x72, .* 102x72; the SDR side must have the same size"):
        PairedVideo(write_hdr(tmp_path), write_sdr(tmp_path, sdr))


@pytest.mark.parametrize(
    ("shift", "message"),
    [(1, "1 frame later"), (-1, "1 frame earlier"), (2, "2 frames later"), (-2, "2 frames earlier")],
)
def test_pair_shifted_in_time_is_refused_and_the_shift_named(tmp_path: Path, shift: int, message: str) -> None:
    film = textured(34, (72, 104))
    hdr, sdr = film[2:32], graded(film[2 - shift : 32 - shift])
    with pytest.raises(DataError, match=rf"near frame \d+ the SDR side shows the same {message}"):
        PairedVideo(write_hdr(tmp_path, hdr), write_sdr(tmp_path, sdr))


def test_frame_lost_in_the_middle_is_found(tmp_path: Path) -> None:
    film = textured(61, (72, 104))
    sdr = graded([*film[:30], *film[31:]])
    with pytest.raises(DataError, match=r"near frame 40 the SDR side shows the same 1 frame earlier"):
        PairedVideo(write_hdr(tmp_path, film[:60]), write_sdr(tmp_path, sdr))


@pytest.mark.parametrize(("right", "down"), [(2, 0), (0, 1), (-3, 2)])
def test_pair_shifted_in_space_is_refused_and_the_shift_named(tmp_path: Path, right: int, down: int) -> None:
    film = [textured(1, (80, 112), seed=number)[0] for number in range(12)]
    hdr = [(y[4:76, 4:108], cb[2:38, 2:54], cr[2:38, 2:54]) for y, cb, cr in film]
    moved = [(y[4 - down : 76 - down, 4 - right : 108 - right], cb[2:38, 2:54], cr[2:38, 2:54]) for y, cb, cr in film]
    shift = rf"SDR side lies [+-]{abs(right)}\.\d pixels to the right and [+-]{abs(down)}\.\d down"
    with pytest.raises(DataError, match=shift) as refusal:
        PairedVideo(write_hdr(tmp_path, hdr), write_sdr(tmp_path, graded(moved)))
    assert all(f"{shift:+}." in str(refusal.value) for shift in (right, down) if shift)


def blurred_pair(folder: Path, sigma: float, seed: int, shift: int = 0) -> tuple[Path, Path]:
    """One blurred frame (Gaussian's sigma in pixels) and its grading by a lossy codec, moved to the right."""
    noise = np.random.default_rng(seed).standard_normal((144, 256)).astype(np.float32)
    blurred = cv2.GaussianBlur(noise, (0, 0), sigma)
    picture = np.clip(0.5 + 0.15 * (blurred - blurred.mean()) / blurred.std(), 0, 1)
    hdr = (876 * picture + 64).round().astype("<u2")
    grading = np.roll((219 * picture**1.4 + 16).round().astype("u1"), shift, axis=1)
    sdr = cv2.imdecode(cv2.imencode(".jpg", grading, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], cv2.IMREAD_UNCHANGED)
    grey = np.ones((72, 128))
    return (
        write_hdr(folder, [(hdr, (512 * grey).astype("<u2"), (512 * grey).astype("<u2"))]),
        write_sdr(folder, [(sdr, (128 * grey).astype("u1"), (128 * grey).astype("u1"))]),
    )


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_true_pair_out_of_focus_is_taken(tmp_path: Path, seed: int) -> None:
    assert PairedVideo(*blurred_pair(tmp_path, 8, seed)).frame_count == 1


@pytest.mark.parametrize("sigma", [1.5, 3])
def test_shift_of_soft_pictures_is_still_found(tmp_path: Path, sigma: float) -> None:
    with pytest.raises(DataError, match=r"SDR side lies \+(0\.9|1\.[01]) pixels to the right"):
        PairedVideo(*blurred_pair(tmp_path, sigma, 0, shift=1))


def test_other_content_is_refused(tmp_path: Path) -> None:
    other = [tuple(plane[::-1, ::-1] for plane in codes) for codes in FRAMES]
    with pytest.raises(DataError, match="shows different pictures"):
        PairedVideo(write_hdr(tmp_path), write_sdr(tmp_path, graded(other)))


def test_variable_frame_rates_must_agree(tmp_path: Path) -> None:
    times = [40 * number + (15 if number > 20 else 0) for number in range(30)]
    hdr = write_hdr(tmp_path, milliseconds=times)
    late = [500 + time for time in times]
    PairedVideo(hdr, write_sdr(tmp_path, graded(FRAMES), "late.mkv", milliseconds=late))
    with pytest.raises(DataError, match=r"shows frame 21 at 0\.855 s, .* at 0\.840 s"):
        PairedVideo(hdr, write_sdr(tmp_path, graded(FRAMES)))


def test_still_pair_is_taken_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    still = [FRAMES[0]] * 5
    with caplog.at_level(logging.WARNING):
        PairedVideo(write_hdr(tmp_path, still), write_sdr(tmp_path, graded(still)))
    assert "nothing moves where they were compared" in caplog.text


def test_black_and_single_frames_are_taken(tmp_path: Path) -> None:
    black = [(np.full_like(y, 64), np.full_like(cb, 512), np.full_like(cr, 512)) for y, cb, cr in FRAMES[:1]]
    sdr = [(np.full_like(y, 16, "u1"), np.full_like(cb, 128, "u1"), np.full_like(cr, 128, "u1")) for y, cb, cr in black]
    assert len(list(PairedVideo(write_hdr(tmp_path, black), write_sdr(tmp_path, sdr)).frames())) == 1
