from __future__ import annotations

import json

import pytest

from datamodules.manifest import Manifest, ShardEntry, SourceEntry
from zoo.errors import DataError

MANIFEST = Manifest(
    scale=2,
    signals={"sdr": "bt709-bt1886-ycbcr709-narrow-8", "hdr": "bt2020-pq-ycbcr2020-narrow-10"},
    preset="val-v1",
    seed=3,
    sources=(SourceEntry("sunset", "CC0-1.0", "ab" * 32),),
    splits={"train": (ShardEntry("train-000000.tar", 7, 10240, "cd" * 32),), "val": (), "test": ()},
)


def test_a_manifest_reads_back_as_written(tmp_path):
    MANIFEST.write(tmp_path)
    read = Manifest.read(tmp_path)
    assert read == MANIFEST
    assert read.digest == MANIFEST.digest
    assert (read.samples("train"), read.samples("val"), read.samples("other")) == (7, 0, 0)


def test_dataset_json_has_the_documented_layout(tmp_path):
    MANIFEST.write(tmp_path)
    content = json.loads((tmp_path / "dataset.json").read_text())
    assert content.keys() == {"format_version", "scale", "signals", "preset", "seed", "sources", "splits"}
    assert content["sources"] == [{"name": "sunset", "licence": "CC0-1.0", "digest": "ab" * 32}]
    assert content["splits"]["train"][0].keys() == {"file", "samples", "bytes", "sha256"}


def test_a_missing_folder_says_how_to_make_a_set(tmp_path):
    with pytest.raises(DataError, match=r"no shard folder .*make_shards"):
        Manifest.read(tmp_path / "absent")


def test_an_empty_folder_and_one_without_manifest_are_told_apart(tmp_path):
    with pytest.raises(DataError, match="is empty"):
        Manifest.read(tmp_path)
    (tmp_path / "train-000000.tar").touch()
    with pytest.raises(DataError, match=r"has no dataset.json"):
        Manifest.read(tmp_path)


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"format_version": 1}', '{"format_version": 1, "sources": [{}], "splits": {}}']
)
def test_a_damaged_manifest_is_one_clear_error(tmp_path, content):
    (tmp_path / "dataset.json").write_text(content)
    with pytest.raises(DataError, match="is damaged"):
        Manifest.read(tmp_path)


def test_another_format_version_is_refused(tmp_path):
    MANIFEST.write(tmp_path)
    path = tmp_path / "dataset.json"
    path.write_text(path.read_text().replace('"format_version": 1', '"format_version": 2'))
    with pytest.raises(DataError, match="format version 2"):
        Manifest.read(tmp_path)


@pytest.mark.parametrize(("text", "other"), [('"samples": 7', '"samples": "7"'), ('"scale": 2', '"scale": "2"')])
def test_a_field_of_another_kind_is_named(tmp_path, text, other):
    MANIFEST.write(tmp_path)
    path = tmp_path / "dataset.json"
    assert text in path.read_text()
    path.write_text(path.read_text().replace(text, other))
    name = text.split('"')[1]
    with pytest.raises(DataError, match=rf"is damaged .*{name} is '"):
        Manifest.read(tmp_path)
