"""Shards: WebDataset tar files of sample pairs; the same samples give the same bytes.

A sample is ``KEY.sdr.npy`` (uint8, h, w, 3), ``KEY.hdr.npy`` (uint16, H, W, 3), both Y'CbCr codes, and ``KEY.json``
(how the pair was made). KEY holds no dot.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import webdataset

from datamodules.manifest import ShardEntry
from zoo.files import replacing, sha256_of


class Sample(NamedTuple):
    """A stored pair: ``sdr`` uint8 (h, w, 3) and ``hdr`` uint16 (H, W, 3); ``meta`` says how it was made."""

    key: str
    sdr: np.ndarray
    hdr: np.ndarray
    meta: dict[str, Any]


def write_shard(path: Path, samples: Iterable[Sample]) -> ShardEntry:
    """Write samples as one tar file, which appears when it is whole.

    Args:
        path: the file to write; of writers of the same samples at once, the last wins.
        samples: in the order in which they will lie.

    Returns:
        The shard's line of the manifest; ``file`` is the path's name.
    """
    count = 0
    with replacing(path) as temporary:
        # No time and no owner in the headers, or two runs would differ.
        with (
            temporary.open("wb") as stream,
            webdataset.TarWriter(stream, encoder=False, user="", group="", mtime=0) as tar,
        ):
            for key, sdr, hdr, meta in samples:
                assert "." not in key
                assert sdr.dtype == np.uint8
                assert hdr.dtype == np.uint16
                tar.write(
                    {
                        "__key__": key,
                        "sdr.npy": _npy_bytes(sdr),
                        "hdr.npy": _npy_bytes(hdr),
                        "json": json.dumps(meta, sort_keys=True).encode(),
                    }
                )
                count += 1
        entry = ShardEntry(path.name, count, temporary.stat().st_size, sha256_of(temporary))
    return entry


def is_whole(path: Path, entry: ShardEntry) -> bool:
    """Whether a shard is there and is what its entry says."""
    return path.is_file() and path.stat().st_size == entry.bytes and sha256_of(path) == entry.sha256


def _npy_bytes(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.ascontiguousarray(array), allow_pickle=False)
    return stream.getvalue()
