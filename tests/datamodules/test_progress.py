from __future__ import annotations

import io
import logging

import pytest

from datamodules import progress
from datamodules.progress import Progress, ProgressHandler, counted, duration, file_size


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "1 s"), (48, "48 s"), (125, "2 min"), (5400, "1 h 30 min"), (12000, "3 h 20 min")]
)
def test_durations_are_for_people(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(900, "0.9 kB"), (181_000_000, "181 MB"), (999_600_000, "1 GB"), (1.25e12, "1.25 TB")]
)
def test_sizes_are_for_people(count, text):
    assert file_size(count) == text


@pytest.mark.parametrize(("count", "text"), [(0, "0 frames"), (1, "1 frame"), (25, "25 frames")])
def test_counts_are_for_people(count, text):
    assert counted(count, "frame") == text


def test_the_time_left_follows_from_the_work_left(monkeypatch, caplog):
    now = iter([0.0, 10.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(now))
    caplog.set_level(logging.INFO)
    parts = Progress("parts", total=4, done=2, work=3.0)
    parts.advance(1.0, "attic")
    parts.advance(2.0, "beach")
    assert caplog.messages == ["3 of 4 parts, 20 s left (attic)", "4 of 4 parts (beach)"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def written(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch, seconds_between: float) -> str:
    """What a handler writes of three steps, a message and the last step."""
    clock = iter(step * seconds_between for step in range(10))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    handler = ProgressHandler()
    handler.setStream(stream)
    for text, done in (("a", 0.2), ("b", 0.4), ("c", 0.6), ("note", None), ("d", 1.0)):
        record = logging.makeLogRecord({"msg": text} | ({} if done is None else {"progress": done}))
        handler.handle(record)
    return stream.getvalue()


def test_on_a_terminal_progress_is_one_line_that_is_written_over(monkeypatch):
    over = "\r\x1b[2K"
    assert written(Terminal(), monkeypatch, 1) == f"a{over}b{over}c{over}note\nd\n"


def test_elsewhere_progress_is_a_line_now_and_then(monkeypatch):
    assert written(io.StringIO(), monkeypatch, 1) == "a\nnote\nd\n"
    assert written(io.StringIO(), monkeypatch, 100) == "a\nb\nc\nnote\nd\n"
