"""Files of sets that lie on a server: ``http(s)://``, ``s3://`` and ``gs://``.

They are read through webdataset's ``gopen``, by its opener for commands: its own opener for http tries thirty times
within itself, waits for ever on a server that falls silent and doesn't tell the server's status; one for s3 it lacks.
"""

from __future__ import annotations

import hashlib
import logging
import re
import shlex
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import IO, TypeVar
from urllib.parse import urlparse

import webdataset

from datamodules.manifest import MANIFEST, Manifest
from zoo.errors import DataError

logger = logging.getLogger(__name__)

# A transfer slower than 1 kB/s over 30 s counts as failed.
_CURL = (
    "curl --fail --silent --show-error --location --globoff --connect-timeout 20 --speed-limit 1000 --speed-time 30 "
    "{url}"
)
_COMMANDS = {"http": _CURL, "https": _CURL, "s3": "aws s3 cp {url} -", "gs": "gsutil cat {url}"}

# Seconds between one try and the next; one more try than waits.
_WAITS = (1.0, 2.0, 4.0, 8.0)

# What curl says of a status that blames the request, so that a second one would fare no better. 408 (request timeout)
# and 429 (too many requests) ask for another try.
_REFUSAL = re.compile(r"returned error: 4(?!08|29)\d\d")

_CHUNK = 1 << 20

T = TypeVar("T")


class TransferError(Exception):
    """One try to fetch a file failed; another may not."""


class RefusalError(TransferError):
    """The server refuses the request, and will refuse the next."""


def is_remote(root: str) -> bool:
    """Whether a set's root is a URL that is fetched, rather than a folder or a ``file://`` URL."""
    return urlparse(root).scheme in _COMMANDS


def transfer(url: str, target: IO[bytes], most_bytes: int | None = None) -> tuple[int, str]:
    """Fetch a file, in one try.

    Args:
        url: of a scheme that ``is_remote`` knows.
        target: where its bytes go.
        most_bytes: break off when more than these arrive.

    Returns:
        Bytes fetched and their SHA-256 in hex. That these are all bytes of the file isn't certain with every server.

    Raises:
        TransferError: what the server or the line said; ``RefusalError`` where another try is of no use.
        DataError: the program that fetches such URLs is missing.
        OSError: ``target`` can't be written.
    """
    command = _COMMANDS[urlparse(url).scheme]
    program = command.partition(" ")[0]
    if shutil.which(program) is None:
        raise DataError(f"{url} is fetched with {program}, which isn't installed; install it or copy the set here")
    digest, count = hashlib.sha256(), 0
    with tempfile.NamedTemporaryFile() as complaints:
        said = f"2>{shlex.quote(complaints.name)}"
        try:
            with closing(webdataset.gopen(f"pipe:{command.format(url=shlex.quote(url))} {said}")) as stream:
                try:
                    while chunk := stream.read(_CHUNK):
                        count += len(chunk)
                        if most_bytes is not None and count > most_bytes:
                            raise TransferError(f"more than {most_bytes} bytes came")
                        digest.update(chunk)
                        target.write(chunk)
                except BaseException:
                    stream.ignore_errors = True  # that the program dies of a closed pipe is no news
                    raise
        except OSError as error:
            if error.errno is not None:  # gopen's own error has none: this one is the disk's
                raise
            lines = complaints.read().decode(errors="replace").split("\n")
            reason = next((line for line in reversed(lines) if line.strip()), f"{program} failed")
            raise (RefusalError if _REFUSAL.search(reason) else TransferError)(reason) from error
    return count, digest.hexdigest()


def with_retries(url: str, attempt: Callable[[], T]) -> T:
    """Try again after a ``TransferError``, five times in all, 15 seconds of waiting in all; not after a refusal.

    Raises:
        DataError: the last try failed too, or the server refused; it names the URL and says why.
    """
    for number, wait in enumerate((*_WAITS, None), 1):
        try:
            return attempt()
        except RefusalError as error:
            raise DataError(f"{url} can't be fetched: {error}; check the address and the server") from error
        except TransferError as error:
            if wait is None:
                raise DataError(
                    f"{url} can't be fetched, tried {number} times: {error}; check the address and the server"
                ) from error
            logger.info("%s: %s; trying again in %g s", url, error, wait)
            time.sleep(wait)
    raise AssertionError("the last try returns or raises")


def fetch_manifest(root: str) -> Manifest:
    """``dataset.json`` of a remote set.

    Raises:
        DataError: it can't be fetched or isn't the content that it must have.
    """
    url = f"{root.rstrip('/')}/{MANIFEST}"

    def attempt(path: Path) -> None:
        with path.open("wb") as stream:
            transfer(url, stream)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with_retries(url, lambda: attempt(folder / MANIFEST))
        try:
            return Manifest.read(folder)
        except DataError as error:
            raise DataError(str(error).replace(str(folder), root.rstrip("/"))) from error
