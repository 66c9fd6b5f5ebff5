from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io

from datamodules.sources import Frame, KaistMat
from zoo.errors import DataError
from zoo.signal import HDR10_VIDEO, SDR_VIDEO

Version = str  # of the .mat format: "5", "7" (compressed) or "7.3" (HDF5)
VERSIONS = ("5", "7", "7.3")


def write_mat(path: Path, version: Version, chunk: int | None = None, **variables: np.ndarray) -> Path:
    """Write arrays (h, w, 3, n) as MATLAB does."""
    if version != "7.3":
        scipy.io.savemat(path, variables, do_compression=version == "7")
        return path
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, array in variables.items():
            stored = array.T  # HDF5 has the axes reversed
            chunks = None if chunk is None else (chunk, *stored.shape[1:])
            dataset = file.create_dataset(
                name, data=stored, chunks=chunks, compression=None if chunk is None else "gzip"
            )
            dataset.attrs["MATLAB_class"] = np.bytes_(array.dtype.name)
    head = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, HDF5 schema 1.00 ."
    with path.open("r+b") as raw:
        raw.write(head.ljust(116) + b" " * 8 + b"\x00\x02IM")
    return path


def sdr_codes(count: int = 5, height: int = 4, width: int = 6) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3, count)).astype(np.uint8)


def hdr_codes(count: int = 5, height: int = 8, width: int = 12) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 1024, (height, width, 3, count)).astype(np.uint16)


def codes_of(frame: Frame) -> tuple[np.ndarray, np.ndarray]:
    """SDR and HDR codes of a frame as (h, w, 3)."""
    assert frame.sdr is not None
    assert (frame.sdr.signal, frame.hdr.signal) == (SDR_VIDEO, HDR10_VIDEO)
    sdr, hdr = (
        (picture.values * peak).round().permute(1, 2, 0).numpy()
        for picture, peak in ((frame.sdr, 255), (frame.hdr, 1023))
    )
    return sdr, hdr


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., KaistMat]:
    """A source of two arrays, written as files of a version."""

    def write(
        sdr: np.ndarray, hdr: np.ndarray, version: Version = "7.3", names: tuple[str, str] = ("SDR_data", "HDR_data")
    ) -> KaistMat:
        sdr_path = write_mat(tmp_path / "SDR_80.mat", version, 1, **{names[0]: sdr})
        hdr_path = write_mat(tmp_path / "HDR_80.mat", version, 1, **{names[1]: hdr})
        return KaistMat(sdr_path, hdr_path)

    return write


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("names", [("SDR_data", "HDR_data"), ("SDR", "HDR"), ("SDR_YUV", "HDR_YUV")])
def test_pictures_come_in_order_with_rows_and_columns_as_in_matlab(
    make: Callable[..., KaistMat], version: Version, names: tuple[str, str]
) -> None:
    sdr, hdr = sdr_codes(), hdr_codes()
    source = pickle.loads(pickle.dumps(make(sdr, hdr, version, names)))
    assert (source.scene, source.frame_count, source.size) == ("HDR_80", 5, (8, 12))
    assert not source.panoramic
    assert [path.name for path in source.files()] == ["SDR_80.mat", "HDR_80.mat"]
    frames = list(source.frames())
    assert [frame.number for frame in frames] == list(range(5))
    for frame in frames:
        ours = codes_of(frame)
        assert np.array_equal(ours[0], sdr[..., frame.number])
        assert np.array_equal(ours[1], hdr[..., frame.number])


def test_layout_of_the_authors_files_is_read_as_their_reader_reads_it(reference: Path) -> None:
    folder = reference / "golden"
    source = KaistMat(folder / "jsi_gan_layout_sdr.mat", folder / "jsi_gan_layout_hdr.mat")
    with np.load(folder / "jsi_gan_layout.npz") as expected:
        for frame in source.frames():
            for picture, side in ((frame.sdr, "sdr"), (frame.hdr, "hdr")):
                assert picture is not None
                # Theirs is float32, already divided by 255 or 1023.
                values = picture.values.permute(1, 2, 0).numpy().astype(np.float32)
                assert np.array_equal(values, expected[side][frame.number])
        assert source.frame_count == len(expected["sdr"])


@pytest.mark.parametrize("chunk", [None, 1, 3, 7])
@pytest.mark.parametrize(("start", "stop", "stride"), [(0, None, 1), (1, 6, 2), (4, None, 3), (6, 20, 1), (7, 3, 1)])
def test_runs_of_chunks_give_the_pictures_asked_for(
    tmp_path: Path, chunk: int | None, start: int, stop: int | None, stride: int
) -> None:
    sdr, hdr = sdr_codes(7), hdr_codes(7)
    source = KaistMat(
        write_mat(tmp_path / "sdr.mat", "7.3", chunk, SDR_data=sdr),
        write_mat(tmp_path / "hdr.mat", "7.3", None, HDR_data=hdr),
    )
    frames = list(source.frames(start, stop, stride))
    assert [frame.number for frame in frames] == list(range(7)[start:stop:stride])
    for frame in frames:
        assert np.array_equal(codes_of(frame)[0], sdr[..., frame.number])


def test_a_chunk_is_decompressed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = KaistMat(
        write_mat(tmp_path / "sdr.mat", "7.3", 3, SDR_data=sdr_codes(7)),
        write_mat(tmp_path / "hdr.mat", "7.3", 7, HDR_data=hdr_codes(7)),
    )
    read = h5py.Dataset.__getitem__
    reads = []

    def counted(self: h5py.Dataset, place: slice) -> object:
        reads.append((self.name, place.start))
        return read(self, place)

    monkeypatch.setattr(h5py.Dataset, "__getitem__", counted)
    assert len(list(source.frames(1))) == 6
    assert sorted(reads) == [("/HDR_data", 0), ("/SDR_data", 0), ("/SDR_data", 3), ("/SDR_data", 6)]


@pytest.mark.parametrize("version", VERSIONS)
def test_single_picture_without_its_last_axis_is_taken(make: Callable[..., KaistMat], version: Version) -> None:
    sdr, hdr = sdr_codes(1)[..., 0], hdr_codes(1)[..., 0]
    (frame,) = make(sdr, hdr, version).frames()
    assert np.array_equal(codes_of(frame)[0], sdr)
    assert np.array_equal(codes_of(frame)[1], hdr)


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_sdr_side_may_be_of_hdr_size_or_reduced(make: Callable[..., KaistMat], scale: int) -> None:
    source = make(sdr_codes(2, 8 // scale, 16 // scale), hdr_codes(2, 8, 16))
    frame = next(source.frames())
    assert frame.sdr is not None
    assert frame.sdr.values.shape == (3, 8 // scale, 16 // scale)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int32, np.uint16])
@pytest.mark.parametrize("version", VERSIONS)
def test_whole_codes_of_any_type_are_taken(make: Callable[..., KaistMat], dtype: type, version: Version) -> None:
    source = make(sdr_codes().astype(dtype), hdr_codes().astype(dtype), version)
    assert np.array_equal(codes_of(next(source.frames(2)))[1], hdr_codes()[..., 2])


@pytest.mark.parametrize(
    ("side", "value", "message"),
    [
        ("hdr", 1024, r"HDR_80\.mat: picture 1 .* to 1024; whole codes of 10 bits are expected, 0 to 1023"),
        ("sdr", 256, r"SDR_80\.mat: picture 1 .* to 256; whole codes of 8 bits are expected, 0 to 255"),
        ("sdr", -1, r"SDR_80\.mat: picture 1 .* from -1"),
        ("hdr", 0.5, r"HDR_80\.mat: picture 1 "),
        ("hdr", np.nan, r"HDR_80\.mat: picture 1 "),
    ],
)
def test_values_that_are_no_codes_are_refused_after_the_pictures_before(
    make: Callable[..., KaistMat], side: str, value: float, message: str
) -> None:
    arrays = {"sdr": sdr_codes().astype(np.float64), "hdr": hdr_codes().astype(np.float64)}
    arrays[side][1, 2, 0, 1] = value
    frames = make(**arrays).frames()
    assert next(frames).number == 0
    with pytest.raises(DataError, match=message):
        next(frames)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("sdr", "hdr", "message"),
    [
        (sdr_codes(4), hdr_codes(5), r"SDR_80\.mat holds 4 pictures, .*HDR_80\.mat 5; they are no pair"),
        (sdr_codes(5, 3, 6), hdr_codes(5), r"SDR_80\.mat: 6x3 is not 1, 1/2 or 1/4 of 12x8"),
        (sdr_codes().transpose(3, 0, 1, 2), hdr_codes(), r"SDR_data is 5x4x6x3 instead of h x w x 3 x n"),
        (sdr_codes()[..., 0, 0], hdr_codes(), r"SDR_data is 4x6 instead of h x w x 3 x n"),
    ],
)
def test_arrays_that_are_no_pair_are_refused(
    make: Callable[..., KaistMat], version: Version, sdr: np.ndarray, hdr: np.ndarray, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        make(sdr, hdr, version)


@pytest.mark.parametrize("version", VERSIONS)
def test_swapped_files_are_refused_by_their_variables(tmp_path: Path, version: Version) -> None:
    sdr_path = write_mat(tmp_path / "sdr.mat", version, 1, SDR_data=sdr_codes())
    hdr_path = write_mat(tmp_path / "hdr.mat", version, 1, HDR_data=hdr_codes())
    with pytest.raises(DataError, match=r"hdr\.mat: holds HDR_data, none of SDR_data, SDR, SDR_YUV"):
        KaistMat(hdr_path, sdr_path)


def test_what_is_no_array_of_numbers_is_refused(tmp_path: Path) -> None:
    hdr_path = write_mat(tmp_path / "hdr.mat", "5", HDR_data=hdr_codes())
    scipy.io.savemat(tmp_path / "sdr.mat", {"SDR_data": {"net": 1}})
    with pytest.raises(DataError, match="SDR_data is 1x1 instead of"):
        KaistMat(tmp_path / "sdr.mat", hdr_path)
    with h5py.File(tmp_path / "sdr.mat", "w") as file:
        file.create_group("SDR_data")
    with pytest.raises(DataError, match="SDR_data is struct instead of"):
        KaistMat(tmp_path / "sdr.mat", hdr_path)
    scipy.io.savemat(tmp_path / "sdr.mat", {"SDR_data": sdr_codes().astype(object)})
    with pytest.raises(DataError, match="SDR_data holds cell instead of numbers"):
        KaistMat(tmp_path / "sdr.mat", hdr_path)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kept", [0.0, 0.2, 0.6, 0.9])
def test_truncated_file_is_refused_in_one_line(tmp_path: Path, version: Version, kept: float) -> None:
    hdr_path = write_mat(tmp_path / "hdr.mat", version, 1, HDR_data=hdr_codes())
    sdr_path = write_mat(tmp_path / "sdr.mat", version, 1, SDR_data=sdr_codes())
    sdr_path.write_bytes(sdr_path.read_bytes()[: int(kept * sdr_path.stat().st_size)])
    with pytest.raises(DataError, match=r"sdr\.mat: ") as refusal:
        list(KaistMat(sdr_path, hdr_path).frames())
    assert "\n" not in str(refusal.value)


def test_missing_package_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_mat(tmp_path / "sdr.mat", "5", SDR_data=sdr_codes())
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(DataError, match=r"need h5py; install sritm-zoo\[data\]"):
        KaistMat(path, path)


@pytest.mark.parametrize("version", VERSIONS)
def test_hdr_codes_that_were_cut_to_8_bit_integers_are_refused(make: Callable[..., KaistMat], version: Version) -> None:
    with pytest.raises(DataError, match=r"HDR_80\.mat: HDR_data holds uint8, too small for the 10-bit codes of HDR"):
        make(sdr_codes(), hdr_codes().astype(np.uint8), version)
