from __future__ import annotations

import io
import os
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import webdataset
from hypothesis import given
from hypothesis import strategies as st

from datamodules import index as index_module
from datamodules.index import open_index, read_sample, scan_shard
from datamodules.manifest import Manifest, ShardEntry
from datamodules.shards import write_shard
from zoo.errors import DataError
from zoo.files import sha256_of


@pytest.fixture
def shard(make_set) -> tuple[Path, ShardEntry]:
    """The folder of a set and its one training shard of five samples."""
    folder = make_set(train=(5,))
    return folder, Manifest.read(folder).splits["train"][0]


def test_a_second_opening_neither_hashes_nor_scans(shard, monkeypatch):
    first = open_index(*shard)
    monkeypatch.setattr(index_module, "sha256_of", None)
    monkeypatch.setattr(index_module, "scan_shard", None)
    assert np.array_equal(open_index(*shard), first)


def test_a_shard_changed_since_is_hashed_again(shard):
    folder, entry = shard
    open_index(folder, entry)
    path = folder / entry.file
    content = bytearray(path.read_bytes())
    content[1500] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="SHA-256"):
        open_index(folder, entry)


def test_indices_lie_outside_the_set(shard, home):
    folder, entry = shard
    before = sorted(folder.iterdir())
    open_index(folder, entry)
    assert sorted(folder.iterdir()) == before
    assert len(list((home / "index").iterdir())) == 1


def test_a_kept_index_that_was_cut_off_is_made_anew(shard, home):
    first = open_index(*shard)
    (kept,) = (home / "index").iterdir()
    os.truncate(kept, 50)
    assert np.array_equal(open_index(*shard), first)


def test_a_kept_index_doesnt_hide_that_the_manifest_counts_other_samples(shard):
    folder, entry = shard
    open_index(folder, entry)
    with pytest.raises(DataError, match=r"holds 5 whole samples, dataset\.json says 7"):
        open_index(folder, replace(entry, samples=7))


def test_a_folder_that_cant_be_written_only_costs_time(shard, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("SRITM_HOME", str(tmp_path / "file" / "home"))
    assert len(open_index(*shard)) == 5


@pytest.mark.parametrize("tolerate", [False, True])
def test_another_size_is_refused_by_name_unless_tolerated(shard, tolerate):
    folder, entry = shard
    with (folder / entry.file).open("ab") as stream:
        stream.write(bytes(512))
    if tolerate:
        assert open_index(folder, entry, tolerate_damage=True)["whole"].all()
    else:
        with pytest.raises(DataError, match=rf"{entry.file} has {entry.bytes + 512} bytes, .* {entry.bytes}"):
            open_index(folder, entry)


def test_a_damaged_shard_is_never_remembered_as_whole(shard):
    folder, entry = shard
    os.truncate(folder / entry.file, entry.bytes // 2)
    open_index(folder, entry, tolerate_damage=True)
    with pytest.raises(DataError, match="bytes"):
        open_index(folder, entry)


def test_a_missing_shard_is_refused_by_name_unless_tolerated(shard):
    folder, entry = shard
    (folder / entry.file).unlink()
    with pytest.raises(DataError, match=f"{entry.file} is missing"):
        open_index(folder, entry)
    assert len(open_index(folder, entry, tolerate_damage=True)) == 0


def test_a_manifest_with_another_number_of_samples_is_refused(shard):
    folder, entry = shard
    with pytest.raises(DataError, match=r"holds 5 whole samples, dataset.json says 6"):
        open_index(folder, replace(entry, samples=6))


@given(st.data())
def test_a_shard_cut_anywhere_gives_the_samples_before_the_cut(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("cut")
    rng = np.random.default_rng(0)
    written = [
        index_module.Sample(f"k{i}", rng.integers(0, 255, (4, 4, 3), np.uint8), np.zeros((8, 8, 3), np.uint16), {})
        for i in range(4)
    ]
    entry = write_shard(folder / "a.tar", written)
    ends = [int(row["sdr"]) + 48 for row in scan_shard(folder / "a.tar")]  # SDR codes lie last
    cut = data.draw(st.integers(0, entry.bytes))
    os.truncate(folder / "a.tar", cut)
    index = scan_shard(folder / "a.tar")
    whole = [read_sample(folder / "a.tar", row) for row in index[index["whole"]]]
    assert [sample.key for sample in whole] == [f"k{i}" for i, end in enumerate(ends) if end <= cut]
    assert all(np.array_equal(sample.sdr, written[i].sdr) for i, sample in enumerate(whole))


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


SDR, HDR = npy(np.zeros((2, 2, 3), np.uint8)), npy(np.zeros((4, 4, 3), np.uint16))


@pytest.mark.parametrize(
    "parts",
    [
        {"sdr.npy": SDR, "hdr.npy": HDR},
        {"sdr.npy": SDR, "json": b"{}"},
        {"sdr.npy": b"no array", "hdr.npy": HDR, "json": b"{}"},
        {"sdr.npy": SDR[:-1], "hdr.npy": HDR, "json": b"{}"},
        {"sdr.npy": SDR, "hdr.npy": npy(np.zeros((4, 4, 3), np.float32)), "json": b"{}"},
        {"sdr.npy": SDR, "hdr.npy": npy(np.zeros((4, 4, 4), np.uint16)), "json": b"{}"},
        {"sdr.npy": SDR, "hdr.npy": npy(np.zeros((4, 4, 3), np.uint16).T), "json": b"{}"},
        {"sdr.npy": SDR.replace(b"(2, 2, 3)", b"(-2,-2,3)"), "hdr.npy": HDR, "json": b"{}"},
        {"sdr.npy": SDR.replace(b"(2, 2, 3)", b"(2, 2, 3\n"), "hdr.npy": HDR, "json": b"{}"},
        {"sdr.npy": SDR, "hdr.npy": HDR, "json": b'{"curve": '},
        {"sdr.npy": SDR, "hdr.npy": HDR, "json": b'{"scene": "\xff"}'},
        {"sdr.npy": SDR, "hdr.npy": HDR, "json": b"[]"},
    ],
    ids=[
        "no json",
        "no hdr",
        "no array",
        "short array",
        "float",
        "four channels",
        "channels first",
        "negative size",
        "no npy header",
        "no JSON text",
        "no UTF-8",
        "no JSON object",
    ],
)
def test_a_sample_of_another_kind_isnt_whole(tmp_path, parts):
    path = tmp_path / "a.tar"
    with webdataset.TarWriter(str(path), encoder=False) as tar:
        tar.write({"__key__": "good", "sdr.npy": SDR, "hdr.npy": HDR, "json": b"{}", "note.txt": b"ignored"})
        tar.write({"__key__": "bad", **parts})
    assert scan_shard(path)["whole"].tolist() == [True, False]
    with pytest.raises(DataError, match=r"holds 1 whole samples, dataset.json says 2"):
        open_index(tmp_path, ShardEntry("a.tar", 2, path.stat().st_size, sha256_of(path)))


def test_keys_in_folders_are_kept(tmp_path):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as tar:
        for name, content in (("x/k.hdr.npy", HDR), ("x/k.json", b"{}"), ("x/k.sdr.npy", SDR)):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    assert scan_shard(path)["key"].tolist() == [b"x/k"]


def write_tar(path: Path, names: list[str]) -> None:
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT, encoding="latin-1") as tar:
        for name in names:
            content = {"sdr": SDR, "hdr": HDR, "json": b"{}"}[name.split(".")[1]]
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def test_a_part_whose_name_is_no_utf8_is_lost_to_its_sample(tmp_path):
    parts = ("hdr.npy", "json", "sdr.npy")
    write_tar(tmp_path / "a.tar", [*(f"a.{part}" for part in parts), "é.hdr.npy", "b.json", "b.sdr.npy"])
    index = scan_shard(tmp_path / "a.tar")
    assert index["key"][index["whole"]].tolist() == [b"a"]


def test_a_sample_with_a_part_of_two_isnt_whole(tmp_path):
    # A damaged name may turn one sample's part into another's: which of the two belongs to it can't be told.
    write_tar(tmp_path / "a.tar", ["a.hdr.npy", "a.json", "a.sdr.npy", "a.hdr.npy", "b.json", "b.sdr.npy"])
    assert not scan_shard(tmp_path / "a.tar")["whole"].any()


@pytest.mark.parametrize("size", [-512, 2**70], ids=["negative", "beyond any file"])
def test_a_size_that_cant_be_ends_a_shard(tmp_path, size):
    path = tmp_path / "a.tar"
    write_tar(path, [f"{key}.{part}" for key in "ab" for part in ("hdr.npy", "json", "sdr.npy")])
    with tarfile.open(path) as tar:
        header = tar.getmember("b.hdr.npy").offset
        member = tar.getmember("b.hdr.npy")
    member.size = size
    content = bytearray(path.read_bytes())
    content[header : header + 512] = member.tobuf(tarfile.GNU_FORMAT)
    path.write_bytes(content)
    index = scan_shard(path)
    assert index["key"][index["whole"]].tolist() == [b"a"]


def test_a_record_written_over_while_in_use_is_an_error_that_names_the_shard(shard):
    folder, entry = shard
    row = open_index(folder, entry)[-1]
    with (folder / entry.file).open("r+b") as stream:
        stream.seek(int(row["json"]))
        stream.write(b"\xff")
    with pytest.raises(DataError, match=f"{entry.file} was written over"):
        read_sample(folder / entry.file, row)


def test_a_shard_cut_while_in_use_is_an_error_that_names_it(shard):
    folder, entry = shard
    row = open_index(folder, entry)[-1]
    os.truncate(folder / entry.file, 2000)
    with pytest.raises(DataError, match=f"{entry.file} was cut off"):
        read_sample(folder / entry.file, row)
    (folder / entry.file).unlink()
    with pytest.raises(DataError, match=f"{entry.file} can't be read any more"):
        read_sample(folder / entry.file, row)
