from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from datamodules import remote
from datamodules.manifest import Manifest
from datamodules.remote import TransferError, fetch_manifest, is_remote, transfer, with_retries
from tests.datamodules.set_server import SetServer
from zoo.errors import DataError


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SetServer]:
    monkeypatch.setattr(remote, "_WAITS", (0.01, 0.01))
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "file").write_bytes(bytes(range(256)) * 1000)
    with SetServer(folder).running() as server:
        yield server


def test_remote_roots_are_told_from_folders():
    assert [is_remote(root) for root in ("http://a/b", "https://a", "s3://b/c", "gs://b")] == [True] * 4
    assert [is_remote(root) for root in ("shards/mine", "/data", "file:///data", "embedded", "ftp://a")] == [False] * 5


def test_a_transfer_counts_and_digests_what_comes(server, tmp_path):
    target = io.BytesIO()
    content = (tmp_path / "served" / "file").read_bytes()
    assert transfer(f"{server.url}/file", target) == (256_000, hashlib.sha256(content).hexdigest())
    assert target.getvalue() == content


@pytest.mark.parametrize(
    ("trouble", "message"),
    [("404", "error: 404"), ("500", "error: 500"), ("drop", "curl: "), ("stall", "(?i)too slow|timed out|aborted")],
)
def test_a_failed_transfer_says_what_the_server_said(server, monkeypatch, trouble, message):
    hasty = remote._CURL.replace("--speed-time 30", "--speed-time 1")
    monkeypatch.setitem(remote._COMMANDS, "http", hasty)
    server.troubles["file"] = [trouble]
    with pytest.raises(TransferError, match=message):
        transfer(f"{server.url}/file", io.BytesIO())


def test_a_transfer_of_too_many_bytes_is_broken_off(server):
    target = io.BytesIO()
    with pytest.raises(TransferError, match="more than 1000 bytes came"):
        transfer(f"{server.url}/file", target, most_bytes=1000)
    assert len(target.getvalue()) <= 1000


def test_a_full_disk_is_no_fault_of_the_server(server):
    with open("/dev/full", "wb", buffering=0) as full, pytest.raises(OSError, match="No space"):
        transfer(f"{server.url}/file", full)


def test_without_a_server_the_line_says_so(monkeypatch):
    with pytest.raises(TransferError, match=r"(?i)connect"):
        transfer("http://127.0.0.1:9/file", io.BytesIO())


def test_without_its_program_a_url_is_refused(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(DataError, match=r"http://a/b is fetched with curl, which isn't installed"):
        transfer("http://a/b", io.BytesIO())


@pytest.mark.parametrize(
    ("url", "program", "arguments"),
    [("s3://bucket/a b/x", "aws", "s3 cp s3://bucket/a b/x -"), ("gs://bucket/x", "gsutil", "cat gs://bucket/x")],
)
def test_buckets_are_read_by_their_own_programs(tmp_path, monkeypatch, url, program, arguments):
    stand_in = tmp_path / program
    stand_in.write_text('#!/bin/sh\necho "$@"\n')
    stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    target = io.BytesIO()
    transfer(url, target)
    assert target.getvalue().decode() == f"{arguments}\n"
    stand_in.write_text("#!/bin/sh\necho 'Unable to locate credentials' >&2\nexit 1\n")
    with pytest.raises(TransferError, match=r"^Unable to locate credentials$"):
        transfer(url, target)


def test_a_manifest_is_fetched_in_spite_of_two_failures(server, make_set):
    folder = make_set(name="served/set")
    (folder / "dataset.json").rename(folder.parent / "dataset.json")
    server.troubles["dataset.json"] = ["500", "drop"]
    assert fetch_manifest(f"{server.url}/") == Manifest.read(folder.parent)
    assert server.requests["dataset.json"] == 3


def test_after_the_last_try_the_error_names_url_and_status(server, tmp_path):
    (tmp_path / "served" / "dataset.json").touch()
    server.troubles["dataset.json"] = ["500"] * 3
    with pytest.raises(DataError, match=rf"^{server.url}/dataset.json can't be fetched, tried 3 times: .* 500"):
        fetch_manifest(server.url)
    assert server.requests["dataset.json"] == 3


@pytest.mark.parametrize(("status", "tries"), [("403", 1), ("404", 1), ("410", 1), ("408", 3), ("429", 3), ("503", 3)])
def test_what_a_server_refuses_isnt_asked_for_again(server, status, tries):
    server.troubles["file"] = [status] * 3
    with pytest.raises(DataError, match=rf"^{server.url}/file can't be fetched(, tried 3 times)?: .* {status}"):
        with_retries(f"{server.url}/file", lambda: transfer(f"{server.url}/file", io.BytesIO()))
    assert server.requests["file"] == tries


def test_brackets_and_braces_in_a_url_are_no_patterns(server, tmp_path):
    (tmp_path / "served" / "take[1-2]{a,b}").write_bytes(b"one file")
    target = io.BytesIO()
    transfer(f"{server.url}/take[1-2]{{a,b}}", target)
    assert target.getvalue() == b"one file"
    assert server.requests.total() == 1


def test_a_damaged_manifest_is_named_by_its_url(server, tmp_path):
    (tmp_path / "served" / "dataset.json").write_text("{")
    with pytest.raises(DataError, match=rf"^{server.url}/dataset.json is damaged"):
        fetch_manifest(server.url)
