"""Reads the file that W&B writes offline, which its package has no public reader of."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_HEADER = b":W&B"
_START = 7  # bytes before the first block
_BLOCK = 32768
_PATIENCE = 20  # seconds
_FULL, _LAST = 1, 4  # kinds of part with which a record is whole


def offline_files(run_dir: Path) -> list[Path]:
    """The files of all starts of a run, the first start's first.

    Waits until they are whole: the process that writes them does so a little later than ``finish()`` returns.
    """
    starts = sorted(run_dir.glob("wandb/offline-run-*"))
    end = time.monotonic() + _PATIENCE
    while not all(_is_whole(start) for start in starts):
        assert time.monotonic() < end, f"W&B didn't end one of {starts}"
        time.sleep(0.05)
    return [_file(start) for start in starts]


def _file(start: Path) -> Path:
    # Made by the other process, on a busy machine after the run's end.
    return start / f"run-{start.name.rpartition('-')[2]}.wandb"


def _is_whole(start: Path) -> bool:
    path = _file(start)
    if not path.is_file() or path.stat().st_size == 0:
        return False
    return any(record.WhichOneof("record_type") == "exit" for record in records(path))


def records(path: Path) -> Iterator[Any]:
    """Each record: the file is a LevelDB log, in blocks of 32 KiB that records may lie across."""
    from wandb.proto import wandb_internal_pb2

    data = path.read_bytes()
    assert data.startswith(_HEADER), path
    place, part = _START, b""
    while place + 7 <= len(data):
        left = _BLOCK - place % _BLOCK
        if left < 7:
            place += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, place)
        if place + 7 + length > len(data):
            return  # still being written
        part += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (_FULL, _LAST):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(part)
            part = b""
            yield record


def history(path: Path) -> list[dict[str, Any]]:
    """What was logged, in order."""
    return [_row(record.history) for record in records(path) if record.WhichOneof("record_type") == "history"]


def _row(record: Any) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for item in record.item:
        # A picture or table is written as its fields, each an item.
        *outer, last = item.nested_key or [item.key]
        place = row
        for key in outer:
            place = place.setdefault(key, {})
        place[last] = json.loads(item.value_json)
    return row


def config(path: Path) -> dict[str, Any]:
    """The run's configuration, by its top-level keys."""
    values: dict[str, Any] = {}
    for record in records(path):
        kind = record.WhichOneof("record_type")
        updates = {"run": record.run.config.update, "config": record.config.update}.get(kind or "", [])
        values |= {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in updates}
    return values


def run_ids(path: Path) -> set[str]:
    """The ids of the runs that the file is of: one."""
    return {record.run.run_id for record in records(path) if record.WhichOneof("record_type") == "run"}
