"""Tests of the reader of MatConvNet's networks in MATLAB files of both versions."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from tests.zoo.importers.writers import V73_HEADER, write_v5, write_v73
from zoo.errors import WeightsError
from zoo.importers.matconvnet import read_dagnn

SMALL = {
    "conv_1f": np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5),
    "conv_1b": np.arange(5, dtype=np.float32),
    "conv_2f": np.ones((3, 3, 5, 2), dtype=np.float32),
}
WRITERS = {
    "v5": lambda path, arrays: write_v5(path, arrays, compress=False),
    "v5 compressed": write_v5,
    "v7.3": write_v73,
}
writers = pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS.keys())
Write = Callable[[Path, dict[str, np.ndarray]], Path]


def outcome(path: Path) -> dict[str, np.ndarray] | str:
    """The parameters, or why they were refused."""
    try:
        return read_dagnn(path)
    except WeightsError as error:
        return str(error)


@writers
def test_both_versions_read_with_matlabs_axes(tmp_path: Path, write: Write) -> None:
    found = read_dagnn(write(tmp_path / "net.mat", SMALL))
    assert list(found) == list(SMALL)
    np.testing.assert_array_equal(found["conv_1f"], SMALL["conv_1f"])
    np.testing.assert_array_equal(found["conv_1b"], SMALL["conv_1b"][:, None])
    assert found["conv_1f"].dtype == np.float32


@writers
def test_a_cut_at_any_byte_is_refused(tmp_path: Path, write: Write) -> None:
    path = write(tmp_path / "net.mat", SMALL)
    whole = path.read_bytes()
    # All of the ends, and every 13th byte between them: HDF5 opens slowly.
    for size in {*range(200), *range(0, len(whole), 13), *range(len(whole) - 100, len(whole))}:
        path.write_bytes(whole[:size])
        found = outcome(path)
        assert isinstance(found, str), size
        assert "net.mat" in found


def test_a_changed_byte_in_compressed_data_is_refused(tmp_path: Path) -> None:
    """By zlib's checksum; the format has no other."""
    path = write_v5(tmp_path / "net.mat", SMALL)
    whole = path.read_bytes()
    for position in range(128, len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        found = outcome(path)
        assert isinstance(found, str), position


def test_a_changed_byte_elsewhere_never_ends_in_another_error(tmp_path: Path) -> None:
    path = write_v5(tmp_path / "net.mat", SMALL, compress=False)
    whole = path.read_bytes()
    for position in range(124, len(whole), 3):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 255]) + whole[position + 1 :])
        found = outcome(path)
        assert isinstance(found, dict) or "\n" not in found


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [write(tmp_path / f"{name}.mat", SMALL) for name, write in WRITERS.items()]
    monkeypatch.setitem(sys.modules, "h5py", None)
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    assert [isinstance(outcome(path), dict) for path in paths] == [True, True, False]
    with pytest.raises(WeightsError, match=r"7\.3 needs h5py; install sritm-zoo\[data\]"):
        read_dagnn(paths[2])


def test_other_matlab_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.mat"
    for content, reason in (
        ({"x": np.zeros(3)}, "it holds x, no variable net"),
        ({"net": np.zeros(3)}, "net is no struct"),
        ({"net": {"layers": 1.0}}, "KeyError: 'params'"),
        ({"net": {"params": 1.0}}, "a part of it is no struct"),
        ({"net": {"params": {"name": 1.0, "value": 1.0}}}, "a name is no text"),
        ({"net": {"params": {"name": "a", "value": {"b": 1.0}}}}, "parameter a: it is of MATLAB's class 2, no real"),
        (
            {"net": {"params": {"name": "a", "value": np.ones(2) * 1j}}},
            "parameter a: it is of MATLAB's class 6, no real",
        ),
    ):
        savemat(path, content)
        assert f"is no whole MatConvNet network: {reason}" in str(outcome(path))
    with h5py.File(path, "w", userblock_size=512) as file:
        file["net/params"] = np.zeros(3)
    path.write_bytes(V73_HEADER + path.read_bytes()[len(V73_HEADER) :])
    assert "is no whole MatConvNet network" in str(outcome(path))
    path.write_bytes(b"MATLAB 4".ljust(600))
    assert "is no MATLAB file of version 5, 7 or 7.3" in str(outcome(path))


def test_a_parameter_that_is_there_twice_is_refused_by_name(tmp_path: Path) -> None:
    fields = [("name", object), ("value", object)]
    params = np.array([("conv_1b", np.zeros(2)), ("conv_1b", np.ones(2))], dtype=fields)
    savemat(tmp_path / "net.mat", {"net": {"params": params}})
    with pytest.raises(WeightsError, match="conv_1b is there twice"):
        read_dagnn(tmp_path / "net.mat")


def test_a_huge_claim_costs_no_memory(tmp_path: Path) -> None:
    """A dataset of HDF5 may have any size without a byte stored, and a stream of zeros is short."""
    path = write_v73(tmp_path / "net.mat", SMALL)
    with h5py.File(path, "r+") as file:
        huge = file.create_dataset("#refs#/huge", (1 << 40,), dtype="f4", chunks=(1 << 20,))
        file["net/params/value"][1, 0] = huge.ref
    with pytest.raises(WeightsError, match="parameter conv_1b: a claim to have 1099511627776 values"):
        read_dagnn(path)

    stream = zlib.compressobj()
    zeros = b"".join(stream.compress(bytes(1 << 20)) for _ in range(300)) + stream.flush()
    bomb = (15).to_bytes(4, "little") + len(zeros).to_bytes(4, "little") + zeros
    path.write_bytes(b"MATLAB 5.0".ljust(124) + b"\0\1IM" + bomb)
    with pytest.raises(WeightsError, match="cut off, or more than"):
        read_dagnn(path)
