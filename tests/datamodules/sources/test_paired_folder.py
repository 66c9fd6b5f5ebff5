from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from datamodules.sources import PairedFolder, is_paired_folder
from zoo.errors import DataError
from zoo.signal import Signal

PQ16 = Signal.parse("bt2020-pq-rgb-full-16")
SDR = Signal.parse("bt709-bt1886-rgb-full-8")

MakeFolder = Callable[..., Path]


def hdr_codes(seed: int, height: int = 8, width: int = 12) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 65283, (height, width, 3)).astype(np.uint16)


def sdr_codes(seed: int, height: int = 8, width: int = 12) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


@pytest.fixture
def make_folder(tmp_path: Path, write_png: Callable[..., Path]) -> MakeFolder:
    """A folder in HDRTV1K's layout; given pictures replace or (None) remove what is there."""

    def make(changes: Mapping[str, np.ndarray | None] | None = None, count: int = 3, scale: int = 1) -> Path:
        pictures: dict[str, np.ndarray | None] = {}
        for number in range(count):
            pictures[f"test_hdr/{number:03d}.png"] = hdr_codes(number)
            pictures[f"test_sdr/{number:03d}.png"] = sdr_codes(number, 8 // scale, 12 // scale)
        for name, codes in {**pictures, **(changes or {})}.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            if codes is not None:
                write_png(tmp_path / name, codes)
        return tmp_path

    return make


def test_hdrtv1k_is_read_by_its_name_alone(make_folder: MakeFolder) -> None:
    folder = make_folder()
    source = pickle.loads(pickle.dumps(PairedFolder(folder, hdr_range="hdrtv1k")))
    assert (source.path, source.scene) == (folder / "test_hdr", "test_hdr")
    assert (source.frame_count, source.size, source.panoramic) == (3, (8, 12), False)
    frames = list(source.frames())
    assert [frame.number for frame in frames] == [0, 1, 2]
    assert [frame.meta for frame in frames] == [{"file": f"00{number}.png"} for number in range(3)]
    for frame in frames:
        assert frame.sdr is not None
        assert (frame.hdr.signal, frame.sdr.signal) == (PQ16, SDR)
        expected = torch.from_numpy(hdr_codes(frame.number).astype(np.float64) / 65282.5).permute(2, 0, 1)
        torch.testing.assert_close(frame.hdr.values, expected, rtol=1e-14, atol=0)
        assert np.array_equal((frame.sdr.values * 255).round().permute(1, 2, 0).numpy(), sdr_codes(frame.number))


def test_white_of_hdrtv1k_is_where_ffmpegs_scaler_puts_it(tmp_path: Path, make_folder: MakeFolder) -> None:
    # A ramp of 10-bit luma codes through the conversion that made the set: R'G'B' of 16 bits.
    luma = np.linspace(64, 940, 12).round().astype(np.uint16)
    video = av.VideoFrame(12, 8, "yuv444p10le")
    video.colorspace, video.color_range = 9, 1
    for plane, codes in zip(video.planes, (luma, 512, 512), strict=True):
        np.frombuffer(memoryview(plane), np.uint16).reshape(8, -1)[:, :12] = codes
    rgb = video.reformat(format="rgb48le").to_ndarray()
    assert rgb.max() == 65283

    folder = make_folder({"test_hdr/000.png": rgb})
    values = next(PairedFolder(folder, hdr_range="hdrtv1k").frames()).hdr.values
    exact = torch.from_numpy((luma - 64.0) / 876)
    assert (values - exact).abs().max() < 1 / 65535
    full = next(PairedFolder(folder, signal=PQ16, sdr_signal=SDR).frames()).hdr.values
    assert (full - exact).abs().max() > 0.003  # four codes of 10 bits: the trap


def test_full_range_gives_codes_as_stored(make_folder: MakeFolder) -> None:
    frame = next(PairedFolder(make_folder(), signal=PQ16, sdr_signal=SDR).frames())
    assert np.array_equal((frame.hdr.values * 65535).round().permute(1, 2, 0).numpy(), hdr_codes(0))


def test_untagged_folder_needs_an_answer(make_folder: MakeFolder) -> None:
    with pytest.raises(DataError, match=r"000\.png: doesn't say its primaries, transfer .*--signal bt2020-pq"):
        PairedFolder(make_folder())
    with pytest.raises(DataError, match=r"test_sdr/000\.png: doesn't say its primaries, transfer"):
        PairedFolder(make_folder(), signal=PQ16)


@pytest.mark.parametrize("scale", [2, 4])
def test_reduced_sdr_folder_is_taken(make_folder: MakeFolder, scale: int) -> None:
    frame = next(PairedFolder(make_folder(scale=scale), hdr_range="hdrtv1k").frames())
    assert frame.sdr is not None
    assert frame.sdr.values.shape == (3, 8 // scale, 12 // scale)
    assert frame.hdr.values.shape == (3, 8, 12)


def test_frames_are_counted_as_range_does(make_folder: MakeFolder) -> None:
    source = PairedFolder(make_folder(count=7), hdr_range="hdrtv1k")
    assert [frame.number for frame in source.frames(1, 6, 2)] == [1, 3, 5]
    assert [frame.number for frame in source.frames(5)] == [5, 6]


def test_folders_are_given_one_by_one_where_they_lie_apart(make_folder: MakeFolder) -> None:
    folder = make_folder()
    (folder / "test_sdr").rename(folder / "lr")
    source = PairedFolder(folder / "test_hdr", folder / "lr", hdr_range="hdrtv1k")
    assert source.files() == [folder / name / f"00{number}.png" for number in range(3) for name in ("test_hdr", "lr")]


def test_folders_of_pairs_are_recognised(make_folder: MakeFolder) -> None:
    folder = make_folder()
    assert is_paired_folder(folder)
    assert not is_paired_folder(folder / "test_hdr")
    assert not is_paired_folder(folder / "test_hdr/000.png")


def test_folder_without_pairs_is_refused(tmp_path: Path) -> None:
    (tmp_path / "hdr").mkdir()
    with pytest.raises(DataError, match="holds no folders named alike but for hdr and sdr"):
        PairedFolder(tmp_path)
    with pytest.raises(DataError, match=r"nowhere: no such folder"):
        PairedFolder(tmp_path / "nowhere")


def test_several_pairs_of_folders_are_named(make_folder: MakeFolder) -> None:
    folder = make_folder({"train_hdr/a.png": hdr_codes(0), "train_sdr/a.png": sdr_codes(0)})
    with pytest.raises(DataError, match=r"test_hdr and test_sdr; train_hdr and train_sdr"):
        PairedFolder(folder, hdr_range="hdrtv1k")


def test_missing_partners_are_named(make_folder: MakeFolder) -> None:
    folder = make_folder({"test_hdr/x.png": hdr_codes(9), "test_sdr/y.png": sdr_codes(9)})
    with pytest.raises(DataError, match=r"test_hdr/x\.png, .*test_sdr/y\.png: no partner of the same name"):
        PairedFolder(folder, hdr_range="hdrtv1k")


def test_many_missing_partners_are_counted(make_folder: MakeFolder) -> None:
    folder = make_folder({f"test_hdr/x{number}.png": hdr_codes(9) for number in range(8)})
    with pytest.raises(DataError, match=r"x4\.png and 3 more: no partner"):
        PairedFolder(folder, hdr_range="hdrtv1k")


def test_empty_folder_is_refused(make_folder: MakeFolder) -> None:
    folder = make_folder({"test_hdr/note.txt": None}, count=0)
    (folder / "test_sdr").mkdir()
    with pytest.raises(DataError, match=r"test_hdr: holds no pictures"):
        PairedFolder(folder, hdr_range="hdrtv1k")


def test_8_bit_hdr_folder_is_refused(make_folder: MakeFolder) -> None:
    folder = make_folder({"test_hdr/000.png": sdr_codes(0)})
    with pytest.raises(DataError, match=r"000\.png: holds rgb24; HDRTV1K's HDR pictures are 16-bit"):
        PairedFolder(folder, hdr_range="hdrtv1k")
    with pytest.raises(DataError, match=r"000\.png: holds 8-bit codes; HDR needs 10 bits or more"):
        PairedFolder(folder, signal=PQ16, sdr_signal=SDR)


def test_later_pair_of_other_size_is_refused_after_those_before_it(make_folder: MakeFolder) -> None:
    frames = PairedFolder(make_folder({"test_sdr/001.png": sdr_codes(1, 8, 11)}), hdr_range="hdrtv1k").frames()
    assert next(frames).number == 0
    with pytest.raises(DataError, match=r"test_sdr/001\.png: 11x8 is not 1, 1/2 or 1/4 of 12x8"):
        next(frames)


def test_hidden_files_and_folders_are_passed_over(make_folder: MakeFolder) -> None:
    folder = make_folder({".test_hdr/0.png": None, ".test_sdr/0.png": None})
    (folder / "test_hdr" / "._000.png").write_bytes(b"left by macOS")
    source = PairedFolder(folder, hdr_range="hdrtv1k")
    assert [path.name for path in source.files()] == [f"00{number}.png" for number in (0, 0, 1, 1, 2, 2)]
