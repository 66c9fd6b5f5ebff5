"""Panoramas of Poly Haven (CC0) for an open training set: choosing, fetching and listing them.

The service is https://api.polyhaven.com: ``/assets?type=hdris`` lists panoramas by id, ``/files/ID`` the files of one,
each with size, MD5 and address. Its terms ask for a User-Agent that names the program and for non-commercial,
reasonable use: here one request at a time, a pause before each, and nothing fetched twice.
"""

from __future__ import annotations

import hashlib
import http
import http.client
import json
import logging
import os
import re
import shutil
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from datamodules.embedded import PHOTOGRAPHS
from zoo.errors import ConfigError, DataError

logger = logging.getLogger(__name__)

API = "https://api.polyhaven.com"
USER_AGENT = "sritm-zoo (tools/get_data.py; CC0 panoramas for training)"
PAUSE = 1.0
"""Seconds before each request."""

SOURCES = "sources.json"
"""List of what was fetched, beside it; a split file for tools/make_shards.py."""

LICENCE = "CC0-1.0"

_TRIES = 5
_TIMEOUT = 60.0  # seconds without a byte
_LONGEST_PAUSE = 60.0  # seconds, however long the server asks to wait
_CHUNK = 2**16  # bytes; a line that hangs or a kill loses at most so many
_NO_SUCH_RANGE = http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE

# What a line or a server does to us; an OSError of the disk is none of these.
_LOST = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError)


@dataclass(frozen=True)
class Asset:
    """A panorama of the service: its id, which names its scene, its title and who made it."""

    id: str
    title: str
    authors: tuple[str, ...]
    categories: tuple[str, ...]


@dataclass(frozen=True)
class RemoteFile:
    """A file of a panorama: where it lies, its size in bytes and its MD5 in hex."""

    url: str
    size: int
    md5: str


@dataclass(frozen=True)
class Fetched:
    """A panorama on disk: its line in ``sources.json``."""

    file: str
    scene: str
    title: str
    url: str
    size: int
    md5: str
    licence: str
    authors: tuple[str, ...]


class UnavailableError(DataError):
    """One panorama or file can't be had; others may."""


class PolyHaven:
    """The service, asked politely: one request at a time, with a pause before each, and again where that may help.

    A lost line, a timeout and the statuses 429 and 5xx are tried again, after pauses that double.

    Args:
        api: base address, ``http(s)://``.
        pause: seconds before each request.
        timeout: seconds without a byte after which a line counts as lost.

    Raises:
        ConfigError: an address of another kind, or a pause below 0.
    """

    def __init__(self, api: str = API, pause: float = PAUSE, timeout: float = _TIMEOUT) -> None:
        if not _is_http(api):
            raise ConfigError(f"{api!r} is no address of a service; give http:// or https://")
        if pause < 0:
            raise ConfigError(f"the pause between requests is {pause}; it must be at least 0 seconds")
        self.api = api.rstrip("/")
        self.pause = pause
        self.timeout = timeout

    def panoramas(self, categories: Sequence[str] = ()) -> list[Asset]:
        """All panoramas that are in every one of ``categories``, in the order of their ids.

        Raises:
            DataError: the service can't be reached or answers something else.
        """
        query = {"type": "hdris"} | ({"categories": ",".join(categories)} if categories else {})
        url = f"{self.api}/assets?{urllib.parse.urlencode(query, safe=',')}"
        reply = self._json(url)
        try:
            return [
                # Authors come as an object from name to what each did.
                Asset(id, str(asset["name"]), tuple(asset["authors"]), tuple(asset["categories"]))
                for id, asset in sorted(reply.items())
                if re.fullmatch(r"[\w-]+", id, flags=re.ASCII)  # it becomes the name of a file
            ]
        except (AttributeError, KeyError, TypeError) as error:
            raise DataError(f"{url} answered another layout ({error!r}); the service may have changed") from error

    def file(self, asset: Asset, resolution: str, suffix: str) -> RemoteFile:
        """The file of a panorama in a resolution (``4k``) and format (``hdr`` or ``exr``).

        Raises:
            UnavailableError: the service doesn't know the panorama, or has no such file of it.
            DataError: the service can't be reached or answers something else.
        """
        url = f"{self.api}/files/{asset.id}"
        reply = self._json(url)
        try:
            resolutions = reply["hdri"]
            if suffix not in resolutions.get(resolution, {}):
                raise UnavailableError(f"{asset.id} has no {suffix} of {resolution}, only of {', '.join(resolutions)}")
            entry = resolutions[resolution][suffix]
            file = RemoteFile(str(entry["url"]), int(entry["size"]), str(entry["md5"]).lower())
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DataError(f"{url} answered another layout ({error!r}); the service may have changed") from error
        if not _is_http(file.url):
            raise DataError(f"{url} gives the address {file.url!r}, which is no http(s); the service may have changed")
        return file

    def fetch(self, file: RemoteFile, path: Path) -> None:
        """Bring a file to ``path``, unless it is there; ``path`` appears whole or not at all.

        What has come is kept in ``path`` with ``.part`` added, and the next try, in this run or a later one, goes on
        there.

        Raises:
            UnavailableError: the server hasn't got the file, or what it sends has another size or MD5.
            DataError: the server can't be reached, or the disk is full.
        """
        if path.is_file() and _is_whole(path, file):
            return
        part = path.with_name(f"{path.name}.part")
        fresh = not part.exists()
        try:
            while True:
                if not part.exists() or part.stat().st_size < file.size:
                    self._receive(file, part)
                if _is_whole(part, file):
                    os.replace(part, path)
                    return
                part.unlink()
                # An old part may have been of another version of the file; what came just now wasn't.
                if fresh:
                    raise UnavailableError(f"{file.url} isn't the file that the service lists (size or MD5 differ)")
                fresh = True
        except OSError as error:
            raise DataError(
                f"can't write {part}: {error.strerror or error}; make room or choose another folder"
            ) from error

    def _json(self, url: str) -> Any:
        patience = _Patience(url, self.pause)
        while True:
            try:
                with self._open(url, {}) as response:
                    return json.loads(response.read())
            except _LOST as error:
                patience.wait(error)
            except ValueError as error:
                raise DataError(f"{url} answered no JSON ({error}); is it the address of the service?") from error

    def _receive(self, file: RemoteFile, part: Path) -> None:
        """Append what is missing to ``part``, until the server says that this was all."""
        patience = _Patience(file.url, self.pause)
        while True:
            had = part.stat().st_size if part.exists() else 0
            try:
                with self._open(file.url, {"Range": f"bytes={had}-"} if had else {}) as response:
                    # 200 in answer to a range: the server sends all of it.
                    with part.open("ab" if response.status == http.HTTPStatus.PARTIAL_CONTENT else "wb") as stream:
                        while (chunk := response.read(_CHUNK)) and stream.tell() <= file.size:
                            stream.write(chunk)
                    # What Content-Length promised and didn't come: read() doesn't complain.
                    if response.length and part.stat().st_size < file.size:
                        raise http.client.IncompleteRead(b"", response.length)
                    return
            except _LOST as error:
                if isinstance(error, urllib.error.HTTPError) and error.code == _NO_SUCH_RANGE:
                    return  # nothing is missing, says the server
                if part.exists() and part.stat().st_size > had:
                    patience = _Patience(file.url, self.pause)  # slow, but on its way
                patience.wait(error)

    def _open(self, url: str, headers: dict[str, str]) -> http.client.HTTPResponse:
        time.sleep(self.pause)
        request = urllib.request.Request(url, headers={"User-Agent": USER_AGENT, **headers})
        return urllib.request.urlopen(request, timeout=self.timeout)


class _Patience:
    """How often a request is tried again, and after which pause."""

    def __init__(self, url: str, pause: float) -> None:
        self._url = url
        self._pause = pause
        self._failures = 0

    def wait(self, error: Exception) -> None:
        """Wait before the next try.

        Raises:
            UnavailableError: the server said that it won't have what was asked for.
            DataError: it was tried often enough.
        """
        asked = 0.0
        if isinstance(error, urllib.error.HTTPError):
            if error.code < 500 and error.code != http.HTTPStatus.TOO_MANY_REQUESTS:
                raise UnavailableError(f"{self._url} answers {error.code} {error.reason}") from error
            seconds = error.headers.get("Retry-After", "")
            asked = float(seconds) if seconds.isdecimal() else 0.0  # else a date, or nothing
        self._failures += 1
        if self._failures == _TRIES:
            raise DataError(
                f"{self._url} failed {_TRIES} times, at last with {error!r}; run the same command again later, "
                "it goes on where it stopped"
            ) from error
        time.sleep(min(max(self._pause * 2**self._failures, asked), _LONGEST_PAUSE))


def choose(assets: Sequence[Asset], seed: int = 0) -> list[Asset]:
    """Panoramas to train on in an order that looks random and depends on the seed and each id alone.

    So the first N stay the first N whatever order the service lists them in, but for panoramas that were added or
    withdrawn. Those that show a place of the protocol's validation and test scenes are left out.

    Args:
        assets: what there is.
        seed: another seed gives another order.
    """
    scenes = [entry["scene"] for entries in _held_out().values() for entry in entries]
    fit = [asset for asset in assets if not any(_shows_place_of(scene, asset.id) for scene in scenes)]
    return sorted(fit, key=lambda asset: hashlib.sha256(f"{seed}/{asset.id}".encode()).digest())


def fetch_panoramas(
    service: PolyHaven, chosen: Sequence[Asset], folder: Path, resolution: str, suffix: str, count: int | None = None
) -> list[Fetched]:
    """Fetch panoramas, and list them in ``folder/sources.json`` as soon as each is whole.

    Those of earlier runs stay in the list; what is there already isn't fetched again.

    Args:
        service: where from.
        chosen: panoramas in order of preference; one without a file of this kind is passed over.
        folder: where to, made if absent.
        resolution: such as ``4k``.
        suffix: ``hdr`` or ``exr``.
        count: how many; all by default.

    Returns:
        Those of this run.

    Raises:
        DataError: the service can't be reached, the disk is full, or some files can't be had; the others are kept.
    """
    listed = _read_sources(folder)
    plan = _plan(service, chosen, resolution, suffix, count)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / f"{asset.id}_{resolution}.{suffix}" for asset, _ in plan]
        total = sum(file.size for _, file in plan)
        missing = sum(file.size for (_, file), path in zip(plan, paths, strict=True) if not path.exists())
        logger.info("%d panoramas, %.1f MB, of which %.1f MB to fetch", len(plan), total / 1e6, missing / 1e6)
        if missing > (free := shutil.disk_usage(folder).free):
            raise DataError(f"{folder} has room for {free / 1e6:.0f} MB, {missing / 1e6:.0f} MB are wanted; make room")
        fetched, lost = [], []
        for number, ((asset, file), path) in enumerate(zip(plan, paths, strict=True), start=1):
            try:
                service.fetch(file, path)
            except UnavailableError as error:
                logger.warning("%s is left out: %s", asset.id, error)
                lost.append(asset.id)
                continue
            entry = Fetched(path.name, asset.id, asset.title, **asdict(file), licence=LICENCE, authors=asset.authors)
            fetched.append(entry)
            listed[entry.scene] = asdict(entry)
            _write_sources(folder, listed)
            logger.info("%d of %d: %s, %.1f MB", number, len(plan), path.name, file.size / 1e6)
    except OSError as error:
        raise DataError(f"can't write {folder}: {error.strerror or error}; choose another folder") from error
    if lost:
        raise DataError(
            f"{len(lost)} of {len(plan)} panoramas couldn't be had ({', '.join(lost)}); the others are in "
            f"{folder / SOURCES}; run again later, or go on without"
        )
    return fetched


def _plan(
    service: PolyHaven, chosen: Sequence[Asset], resolution: str, suffix: str, count: int | None
) -> list[tuple[Asset, RemoteFile]]:
    """The first ``count`` panoramas that have a file of this kind, with it."""
    plan: list[tuple[Asset, RemoteFile]] = []
    reason = "the list is empty"
    for asset in chosen:
        if len(plan) == count:
            break
        try:
            plan.append((asset, service.file(asset, resolution, suffix)))
        except UnavailableError as error:
            logger.warning("%s is passed over: %s", asset.id, error)
            reason = str(error)
    if not plan:
        raise DataError(f"no panorama of {resolution} as {suffix} can be had ({reason}); choose others")
    return plan


def _held_out() -> dict[str, list[dict[str, str]]]:
    """File and scene of the protocol's panoramas, by ``val`` and ``test``."""
    listed = json.loads((PHOTOGRAPHS / "panoramas.json").read_text(encoding="utf-8"))
    return {
        split: [{"file": entry["file"], "scene": entry["scene"]} for entry in listed[split]]
        for split in ("val", "test")
    }


def _shows_place_of(scene: str, id: str) -> bool:
    """Whether a panorama may show the place of a scene: its id holds the scene's name, whatever number that ends with.

    Some of the protocol's scenes have part of their id for a name, and ids with another number are often one place.
    """
    place = re.sub(r"_\d+$", "", scene)
    return f"_{place}_" in f"_{id}_"


def _read_sources(folder: Path) -> dict[str, dict[str, Any]]:
    """Panoramas that earlier runs have listed and that are still there, by scene."""
    path = folder / SOURCES
    if not path.is_file():
        return {}
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["train"]
        return {entry["scene"]: entry for entry in entries if (folder / entry["file"]).is_file()}
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is damaged ({error!r}); remove it, whole files are not fetched again") from error


def _write_sources(folder: Path, listed: dict[str, dict[str, Any]]) -> None:
    content = {
        "about": "HDR panoramas of Poly Haven, fetched by tools/get_data.py; val and test are protocol val-v1's.",
        "credit": "Powered by Poly Haven (https://polyhaven.com)",
        "licence": LICENCE,
        "train": [listed[scene] for scene in sorted(listed)],
        **_held_out(),
    }
    temporary = folder / f".{SOURCES}.part"
    temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(temporary, folder / SOURCES)


def _is_http(url: str) -> bool:
    parts = urllib.parse.urlsplit(url)
    return parts.scheme in ("http", "https") and bool(parts.netloc)


def _is_whole(path: Path, file: RemoteFile) -> bool:
    if path.stat().st_size != file.size:
        return False
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest() == file.md5
