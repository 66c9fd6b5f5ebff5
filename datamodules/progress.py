"""How far a long job is, told by the log."""

from __future__ import annotations

import logging
import sys
import time

logger = logging.getLogger(__name__)


def duration(seconds: float) -> str:
    """A length of time for people: ``48 s``, ``12 min``, ``3 h 20 min``."""
    if seconds < 90:
        return f"{max(round(seconds), 1)} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def file_size(count: float) -> str:
    """A number of bytes for people, in decimal units: ``181 MB``, ``1.2 TB``."""
    for unit in ("kB", "MB", "GB"):
        count /= 1000
        if count < 999.5:
            return f"{count:.3g} {unit}"
    return f"{count / 1000:.3g} TB"


def counted(count: int, noun: str) -> str:
    """A number of things for people: ``1 frame``, ``25 frames``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


class Progress:
    """Counts what is done and logs it, with the time that the rest will take at the pace so far.

    Args:
        noun: what is counted, in the plural.
        total: how many there are in all.
        done: how many were done before.
        work: all that is left to do, in any unit; what ``advance`` is given adds up to it.
    """

    def __init__(self, noun: str, total: int, done: int, work: float) -> None:
        self._noun, self._total, self._done, self._work = noun, total, done, work
        self._worked = 0.0
        self._start = time.monotonic()

    def advance(self, work: float, note: str) -> None:
        """One more is done.

        Args:
            work: its share of the work.
            note: what it was.
        """
        self._done += 1
        self._worked += work
        left = ""
        if self._worked and self._done < self._total:
            pace = (time.monotonic() - self._start) / self._worked
            left = f", {duration(max(self._work - self._worked, 0) * pace)} left"
        logger.info(
            "%d of %d %s%s (%s)",
            self._done,
            self._total,
            self._noun,
            left,
            note,
            extra={"progress": self._done / self._total},
        )


class ProgressHandler(logging.StreamHandler):
    """Writes the log to stderr: messages as lines, progress as one line that is written over.

    Where stderr is no terminal, progress is lines too, ten seconds apart at least, the last one always.
    """

    _INTERVAL = 10.0

    def __init__(self) -> None:
        super().__init__(sys.stderr)
        self._open_line = False
        self._overwrite = ""
        self._last = -self._INTERVAL

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        progress: float | None = getattr(record, "progress", None)
        terminal = self.stream.isatty()
        if progress is not None and progress < 1 and not terminal:
            if time.monotonic() - self._last < self._INTERVAL:
                return
            self._last = time.monotonic()
        self._overwrite = "\r\x1b[2K" if self._open_line else ""
        self._open_line = terminal and progress is not None and progress < 1
        self.terminator = "" if self._open_line else "\n"
        super().emit(record)

    def format(self, record: logging.LogRecord) -> str:
        """The message, over the progress line that stands there if one does."""
        return self._overwrite + super().format(record)
