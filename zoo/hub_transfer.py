"""A file from a server to a folder: resumed, checked, and whole or not there. Standard library alone.

Each process writes to a file of its own and renames it when its SHA-256 is right, so no lock is needed: on some network
file systems locks do nothing. A transfer that ends early leaves its part under a name that says whose it isn't any
more; renaming gives it to exactly one of those who want to go on with it.
"""

from __future__ import annotations

import errno
import hashlib
import http.client
import logging
import os
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeVar
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen
from uuid import uuid4

from zoo.errors import WeightsError, one_line

logger = logging.getLogger(__name__)

# Seconds between one try and the next; one more try than waits.
_WAITS = (1.0, 2.0, 4.0)
# A try has failed after so many seconds of silence, or if fewer bytes a second come over so many seconds.
_SILENCE = 20.0
_LEAST_PACE = 1000
_PACE_OVER = 30.0
# Likewise if a head, or the next piece, takes so many seconds, whatever comes of it meanwhile.
_LATE = 50.0
# Seconds after which a part that nobody writes to any more belongs to a dead process.
_DEAD = 600.0
_CHUNK = 1 << 16
_MOST_TEXT = 4 << 20

T = TypeVar("T")
Report = Callable[[int], None]


class _TransferError(Exception):
    """One try failed; another may not."""


class _RefusalError(_TransferError):
    """The next try would fare no better."""


class _LateError(_TransferError):
    """The answer never ends: a byte now and then keeps the line's own time limit from passing."""


class _RangeError(_TransferError):
    """The server has no rest of the file that begins where it was asked to."""


def read_text(url: str) -> str:
    """A small text file of a server.

    Raises:
        WeightsError: it can't be had.
    """

    def attempt() -> bytes:
        since, data = time.monotonic(), b""
        with _opened(url) as (response, _):
            while chunk := _read(response):
                data += chunk
                if len(data) > _MOST_TEXT:
                    raise _RefusalError(f"more than {_MOST_TEXT} bytes come")
                if time.monotonic() - since > _PACE_OVER:
                    raise _TransferError(f"only {len(data)} bytes came in {_PACE_OVER:.0f} s")
            if len(data) < (_length(response) or 0):
                raise _TransferError(f"the line broke after {len(data)} bytes")
        return data

    return _with_retries(url, attempt).decode(errors="replace")


def fetch(url: str, path: Path, count: int, sha256: str, report: Report) -> None:
    """Fetch a file. ``path`` appears when it is whole and right, and is never seen otherwise.

    Args:
        url: ``http(s)://`` or ``file://``.
        path: where it goes; its folder is there.
        count: bytes that it has.
        sha256: in hex.
        report: is told of the bytes so far.

    Raises:
        WeightsError: it can't be had, or other bytes come.
        OSError: the folder can't be written to.
    """
    part = _claim(path, sha256)
    try:
        _with_retries(url, lambda: _attempt(url, part, count, sha256, report))
        os.replace(part, path)
    except OSError:
        part.unlink(missing_ok=True)  # a full disk is helped by room, not by half a file
        raise
    except BaseException:
        _abandon(part, path, sha256)
        raise


def parts(folder: Path, prefix: str) -> dict[str, tuple[int, int]]:
    """Size and time of files that are being fetched, by name: whether they change tells whether a transfer lives."""
    found = {}
    for path in folder.glob(f".{prefix}*.part"):
        try:
            status = path.stat()
        except FileNotFoundError:
            continue
        found[path.name] = (status.st_size, status.st_mtime_ns)
    return found


def _claim(path: Path, sha256: str) -> Path:
    """A part to write to, no one else's; what somebody left of the same bytes if there is some."""
    stem = f".{path.name}.{sha256[:12]}"
    own = path.with_name(f"{stem}.{os.getpid()}-{uuid4().hex[:8]}.part")
    for leftover in (path.with_name(f"{stem}.part"), *path.parent.glob(f"{stem}.*.part")):
        try:
            if leftover.name != f"{stem}.part" and time.time() - leftover.stat().st_mtime < _DEAD:
                continue
            os.rename(leftover, own)  # only one of those who try succeeds
            os.utime(own)
        except FileNotFoundError:
            continue
        return own
    own.touch()
    return own


def _abandon(part: Path, path: Path, sha256: str) -> None:
    try:
        if part.stat().st_size:
            os.replace(part, path.with_name(f".{path.name}.{sha256[:12]}.part"))
        else:
            part.unlink()
    except OSError:
        part.unlink(missing_ok=True)


def _attempt(url: str, part: Path, count: int, sha256: str, report: Report) -> None:
    with part.open("ab") as stream:
        resumed = stream.tell()
        if resumed > count:
            stream.truncate(0)
            resumed = 0
        try:
            if resumed < count:
                resumed = _append(url, stream, resumed, count, report)
        except _RangeError:
            stream.truncate(0)
            raise
        stream.flush()
        os.fsync(stream.fileno())
    with part.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if digest != sha256:
        with part.open("wb"):
            pass  # nothing of it is of use
        # Two halves may be of two files; a whole one that is wrong will be wrong again.
        kind = _TransferError if resumed else _RefusalError
        raise kind(f"SHA-256 {digest[:12]}... came, the index says {sha256[:12]}...")


def _append(url: str, stream: BinaryIO, start: int, count: int, report: Report) -> int:
    """Write what is missing; returns where it began, 0 if the server gives whole files only."""
    with _opened(url, start) as (response, begins):
        if begins != start:
            stream.truncate(0)
        done = begins
        length = _length(response)
        if length is not None and begins + length != count:
            raise _RefusalError(f"{begins + length} bytes are offered, the index says {count}")
        since, before = time.monotonic(), done
        while chunk := _read(response):
            done += len(chunk)
            if done > count:
                stream.truncate(0)
                raise _RefusalError(f"more than the index's {count} bytes come")
            stream.write(chunk)
            report(done)
            passed = time.monotonic() - since
            if passed >= _PACE_OVER:
                if done - before < _LEAST_PACE * passed:
                    raise _TransferError(f"only {done - before} bytes came in {passed:.0f} s")
                since, before = time.monotonic(), done
    if done < count:
        raise _TransferError(f"the line broke after {done} of {count} bytes")
    return begins


@contextmanager
def _opened(url: str, start: int = 0) -> Iterator[tuple[Any, int]]:
    """An answer, and at which byte it begins."""
    headers = {"User-Agent": "sritm-zoo"} | ({"Range": f"bytes={start}-"} if start else {})
    with _network():
        response = _in_time(lambda: urlopen(Request(url, headers=headers), timeout=_SILENCE))
    try:
        begins = 0
        if getattr(response, "status", None) == 206:
            said = response.headers.get("Content-Range", "")
            if not said.startswith(f"bytes {start}-"):
                raise _RangeError(f"asked for bytes from {start} on, the server gives {said or 'no range'}")
            begins = start
        yield response, begins
    except _LateError:
        raise  # somebody still reads: closing would wait for that
    except BaseException:
        response.close()
        raise
    response.close()


def _length(response: Any) -> int | None:
    """Bytes that a server promises; None if it says nothing that can be read."""
    said = response.headers.get("Content-Length") or ""
    return int(said) if said.isascii() and said.isdecimal() and len(said) < 20 else None


def _read(response: Any) -> bytes:
    with _network():
        return _in_time(lambda: response.read1(_CHUNK))  # what has come, so that a slow line is noticed


def _in_time(call: Callable[[], T]) -> T:
    """What a call gives.

    It is left alone in a thread of its own if that takes too long: a line's time limit begins anew with every byte.

    Raises:
        _LateError: it takes too long.
    """
    answers: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()

    def work() -> None:
        try:
            answers.put((call(), None))
        except BaseException as error:
            answers.put((None, error))

    threading.Thread(target=work, daemon=True).start()
    try:
        answer, error = answers.get(timeout=_LATE)
    except queue.Empty:
        raise _LateError(f"the server's answer takes longer than {_LATE:.0f} s") from None
    if error is not None:
        raise error
    return answer


@contextmanager
def _network() -> Iterator[None]:
    """Errors of the line and the server as ours: those of the disk must stay apart from them."""
    try:
        yield
    except HTTPError as error:
        error.close()
        lasting = 400 <= error.code < 500 and error.code not in (408, 429)
        kind = _RangeError if error.code == 416 else _RefusalError if lasting else _TransferError
        raise kind(f"the server says {error.code} {error.reason}") from error
    except URLError as error:
        reason = error.reason
        if isinstance(reason, FileNotFoundError):
            raise _RefusalError("there is no such file") from error
        if isinstance(reason, socket.gaierror) or getattr(reason, "errno", None) == errno.ENETUNREACH:
            raise _RefusalError(f"this machine seems to be offline ({getattr(reason, 'strerror', reason)})") from error
        raise _TransferError(str(getattr(reason, "strerror", None) or reason)) from error
    except TimeoutError as error:
        raise _TransferError(f"the server is silent for {_SILENCE:.0f} s") from error
    except (http.client.InvalidURL, ValueError) as error:
        raise _RefusalError(str(error)) from error
    except (http.client.HTTPException, OSError) as error:
        said = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise _TransferError(said) from error


def _with_retries(url: str, attempt: Callable[[], T]) -> T:
    for number, wait in enumerate((*_WAITS, None), 1):
        try:
            return attempt()
        except _RefusalError as error:
            raise WeightsError(f"{url} can't be fetched: {_line(error)}; check the address") from error
        except _TransferError as error:
            if wait is None:
                raise WeightsError(
                    f"{url} can't be fetched, tried {number} times: {_line(error)}; try again later"
                ) from error
            logger.info("%s: %s; trying again in %g s", url, error, wait)
            time.sleep(wait)
    raise AssertionError("the last try returns or raises")


def _line(error: Exception) -> str:
    """What an error says, in a line: parts of it are the server's words."""
    return "".join(c for c in one_line(error) if c.isprintable())
