"""Where trained weights are found, and what says that they are right. Standard library alone.

Weights ``NAME.TAG`` are one file. An ``index.json`` says what a folder of them holds: the folder that comes with the
package (``zoo/pretrained``), and any folder that ``tools/publish.py`` made and a server gives out, a *mirror*. In the
user's cache each file has its line of the index beside it, ``NAME.TAG.json``, so that processes share no file.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from zoo.errors import WeightsError
from zoo.files import parse_json, sha256_of, write_json
from zoo.home import sritm_home, user_cache
from zoo.hub_index import INDEX_NAME, Weights, default_tag, fields_of, file_name, parse_index, weights_of
from zoo.runs import is_first_process

MIRROR = ""
"""Where weights that aren't on this machine come from if the user names no place; empty: from nowhere."""

SHIPPED = Path(__file__).resolve().parent / "pretrained"
"""Weights that come with the package."""

IMPORTED = "paper"
"""Tag of the authors' weights, which each user imports and nobody gives out."""

# How long a rank waits for the first one while nothing moves, in seconds: longer than that one's own patience.
_PATIENCE = 60.0
_LOOK_EVERY = 0.2


class AbsentError(WeightsError):
    """No such weights in any place that may be asked.

    Attributes:
        mirror: that was asked; empty if none is named.
        tags: those that there are of the model.
    """

    def __init__(self, mirror: str, tags: Iterable[str]) -> None:
        self.mirror = mirror
        self.tags = tuple(sorted(tags))
        super().__init__(f"no such weights; there are {', '.join(self.tags) or 'none'}")


def cache_folder() -> Path:
    """The user's own cache of weights; it need not be there."""
    return sritm_home() / "weights"


def cached_path(name: str, tag: str) -> Path:
    """Where weights ``name.tag`` lie in the user's own cache; they need not be there.

    Whoever puts a file there calls :func:`record`, or it isn't found.
    """
    return cache_folder() / file_name(name, tag)


def record(name: str, tag: str, license: str, source: str = "") -> Weights:
    """Take note of the file at :func:`cached_path`, so that it is found and its bytes are known.

    Args:
        name: of the model.
        tag: of the weights.
        license: what they may be used for; free text where no licence is known.
        source: where they came from.

    Raises:
        OSError: the file can't be read, or the note can't be written.
    """
    path = cached_path(name, tag)
    weights = Weights(name, tag, path.name, sha256_of(path), path.stat().st_size, license, source=source)
    _write_note(weights)
    return weights


def known(name: str | None = None) -> list[Weights]:
    """Weights that this machine knows of, of one model or all, sorted: those of the package's index and the cache.

    Nothing is fetched. The package's index may name files that are fetched from a mirror.
    """
    found = {each.full_name: each for each in (*cached(), *_shipped_index())}
    return [found[full] for full in sorted(found) if name in (None, found[full].name)]


def cached() -> list[Weights]:
    """Weights in the user's cache, as their notes have it. A note that can't be read counts as none."""
    return _notes()[0]


def _notes(name: str = "") -> tuple[list[Weights], str]:
    """The cache's weights, of one model or all, and what of it can't be read and why; empty if all can."""
    found, trouble = [], ""
    try:
        notes = sorted(each for each in os.listdir(cache_folder()) if each.endswith(".json") and each.startswith(name))
    except FileNotFoundError:
        return [], ""
    except OSError as error:
        return [], f"{cache_folder()} can't be read ({error.strerror})"
    for note in (cache_folder() / each for each in notes):
        try:
            weights = weights_of(parse_json(note.read_bytes()))
            is_here = cached_path(weights.name, weights.tag).is_file() and note == _note_path(weights)
        except (OSError, ValueError, TypeError, AttributeError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or "it is no note of weights"
            trouble = trouble or f"{note} can't be read ({reason})"
            continue
        if is_here:
            found.append(weights)
    return found, trouble


def address(source: str | None = None) -> str:
    """URL of the mirror: what ``source`` names, else ``SRITM_ZOO_URL``, else the project's own; may be empty.

    Args:
        source: ``https://``, ``http://``, ``file://``, a folder, or ``hf://ORG/REPOSITORY``, where ``@REVISION`` may
            follow; ``HF_ENDPOINT`` is followed as the hub's own clients do.

    Raises:
        WeightsError: it is of another kind, or holds a password, which would be printed and kept.
    """
    source = source or os.environ.get("SRITM_ZOO_URL") or MIRROR
    if not source:
        return ""
    if "://" not in source:
        return Path(source).expanduser().absolute().as_uri()
    scheme, _, rest = source.rstrip("/").partition("://")
    if "@" in rest.partition("/")[0]:
        raise WeightsError("a mirror's address can't hold a user or a password; name one that needs none")
    if scheme == "hf":
        repository, _, revision = rest.partition("@")
        if repository.count("/") != 1:
            raise WeightsError(f"mirror {source} names no repository; write hf://ORG/REPOSITORY")
        endpoint = (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
        if "@" in endpoint.partition("://")[2].partition("/")[0]:
            raise WeightsError("HF_ENDPOINT can't hold a user or a password; name a mirror that needs none")
        return f"{endpoint}/{repository}/resolve/{quote(revision or 'main', safe='')}"
    if scheme not in ("https", "http", "file") or not rest:
        raise WeightsError(
            f"mirror {source} is of no known kind; use https://, http://, file:// or hf://ORG/REPOSITORY"
        )
    return source.rstrip("/")


def read_index(mirror: str) -> list[Weights]:
    """What a mirror holds.

    Args:
        mirror: its URL, as :func:`address` gives it.

    Raises:
        WeightsError: it can't be reached, or its index can't be read.
    """
    # Here and below not at the top: a network library takes longer to import than all that `import zoo` needs.
    from zoo.hub_transfer import read_text

    url = f"{mirror}/{INDEX_NAME}"
    return [replace(each, source=mirror) for each in parse_index(read_text(url), url)]


def find(name: str, tag: str | None = None, source: str | None = None) -> tuple[Weights, Path]:
    """The file of trained weights, fetched if it isn't on this machine.

    Looked for in this order: what comes with the package, the user's cache, a mirror. Where ``source`` is given it
    decides: a file of the same name from elsewhere is taken only if the bytes are the same. What the package's index
    has under a name are the only bytes for it, wherever they come from. A mirror is asked only if no file is here. What
    lies in the folder of torch's own hub (``TORCH_HOME/hub/checkpoints/NAME.TAG.safetensors``) isn't fetched but
    copied. Of several ranks the first fetches and the others wait; one that sees nothing move for a minute fetches for
    itself.

    Args:
        name: of the model.
        tag: of the weights; ``default_tag`` of those here, or of the mirror's if none is here, by default.
        source: as :func:`address` takes it.

    Returns:
        What is published, and where the file lies. Its SHA-256 is checked when it is read, not here.

    Raises:
        AbsentError: there are no such weights.
        WeightsError: they can't be fetched or kept.
    """
    if found := _here(name, tag, source):
        return found
    mirror = "" if tag == IMPORTED else address(source)
    if mirror and not is_first_process() and (found := _wait(name, tag, source)):
        return found
    own = {each.tag: each for each in _shipped_index() if each.name == name}
    offered = own if source is None else {}
    if mirror and (tag or default_tag(offered)) not in offered:
        theirs = {each.tag: each for each in read_index(mirror) if each.name == name and each.tag != IMPORTED}
        offered = theirs | offered
    wanted = tag or default_tag(offered)
    if wanted not in offered:
        if trouble := _notes(f"{name}.")[1]:
            raise WeightsError(f"{trouble}; mend or remove it, or name another folder with SRITM_HOME")
        raise AbsentError(mirror, {each.tag for each in known(name)} | offered.keys())
    weights = replace(own.get(wanted, offered[wanted]), source=mirror)
    if offered[wanted].sha256 != weights.sha256:
        raise WeightsError(
            f"{mirror} offers another {weights.full_name} than the package's index has, which is refused; leave out "
            "the mirror, or publish these weights under a tag of their own"
        )
    lying_about = _same_bytes(weights)
    if lying_about is None and not mirror:
        raise WeightsError(
            f"{weights.full_name} is published, but isn't on this machine, and nothing says where to fetch it: set "
            "SRITM_ZOO_URL"
        )
    return weights, _keep(weights, lying_about)


def check(weights: Weights, path: Path) -> None:
    """Make sure that a file is the published one, to the bit.

    Raises:
        WeightsError: it isn't.
    """
    try:
        size = path.stat().st_size
        digest = sha256_of(path) if size == weights.bytes else None
    except OSError as error:
        raise WeightsError(f"{path} can't be read ({error.strerror})") from error
    if digest == weights.sha256:
        return
    have = f"its SHA-256 is {digest[:12]}..." if digest else f"it has {size} bytes, published are {weights.bytes}"
    again = f"remove it (sritm cache --clear {weights.full_name})" if path.parent == cache_folder() else "restore it"
    raise WeightsError(f"{path} is not the published {weights.full_name}: {have}; {again} and load again")


def verify(name: str | None = None, tag: str | None = None) -> list[tuple[Weights, Path | None, str]]:
    """Compare the files on this machine with what is published.

    Args:
        name: of one model; all by default.
        tag: of one file of it.

    Returns:
        Of each file what it is, where it lies (None: not on this machine), and what is wrong, or an empty text.
    """
    verdicts: list[tuple[Weights, Path | None, str]] = []
    own = {each.full_name: each for each in _shipped_index()}
    places = [(each, SHIPPED / each.file) for each in own.values()]
    places += [(own.get(each.full_name, each), cached_path(each.name, each.tag)) for each in cached()]
    for weights, path in places:
        if name not in (None, weights.name) or tag not in (None, weights.tag):
            continue
        if not path.is_file():
            verdicts.append((weights, None, ""))
            continue
        try:
            check(weights, path)
            check_card(weights, header_of(path).get("__metadata__", {}), path)
        except WeightsError as error:
            verdicts.append((weights, path, str(error)))
        else:
            verdicts.append((weights, path, ""))
    return verdicts


def check_card(weights: Weights, metadata: Mapping[str, Any], path: Path) -> None:
    """Refuse a file that says something else of itself than the index and its card do; silence is no contradiction.

    Args:
        weights: what the index says.
        metadata: of the file, JSON text or values.
        path: named in errors.

    Raises:
        WeightsError: they contradict each other.
    """
    for fact in ("name", "tag", "license"):
        if fact not in metadata:
            continue
        own, stated = metadata[fact], getattr(weights, fact)
        if own not in (stated, json.dumps(stated)):
            raise WeightsError(f"{path} says that its {fact} is {own}, its index {stated}; publish it again")


def header_of(path: Path) -> dict[str, Any]:
    """What a safetensors file says of itself before its numbers come.

    Raises:
        WeightsError: it is none.
    """
    try:
        with path.open("rb") as stream:
            size = int.from_bytes(stream.read(8), "little")
            header = parse_json(stream.read(min(size, 100 << 20)))  # the format's own limit
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} is not a whole safetensors file; fetch or export it again") from error
    if not isinstance(header, dict):
        raise WeightsError(f"{path} is not a safetensors file")
    return header


def clear(name: str | None = None, tag: str | None = None) -> int:
    """Remove weights from the user's cache: a file, a model's, or all with what stopped downloads left.

    Imported ones (tag ``paper``), which can't be fetched again, only if their tag is written out.

    Returns:
        How many bytes that freed.

    Raises:
        WeightsError: a file can't be removed.
    """
    pattern = f"{name or '*'}.{tag or '*'}.*"
    doomed = [*cache_folder().glob(pattern), *cache_folder().glob(f".{pattern}")]
    if tag != IMPORTED:
        doomed = [path for path in doomed if f".{IMPORTED}." not in path.name]
    freed = 0
    for path in doomed:
        try:
            freed += path.stat().st_size
            path.unlink()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise WeightsError(f"can't remove {path} ({error.strerror})") from error
    return freed


def _note_path(weights: Weights) -> Path:
    return cached_path(weights.name, weights.tag).with_suffix(".json")


def _write_note(weights: Weights) -> None:
    write_json(_note_path(weights), fields_of(weights))


def _shipped_index() -> list[Weights]:
    path = SHIPPED / INDEX_NAME
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise WeightsError(f"{path} can't be read ({error.strerror})") from error
    return parse_index(text, path)


def _here(name: str, tag: str | None, source: str | None) -> tuple[Weights, Path] | None:
    """Weights whose file is on this machine; where ``source`` is given, only those that came from there."""
    places = {each.tag: (each, cached_path(each.name, each.tag)) for each in cached() if each.name == name}
    if source is not None:
        places = {key: place for key, place in places.items() if place[0].source == address(source)}
    for each in (each for each in _shipped_index() if each.name == name):
        if source is None and (path := SHIPPED / each.file).is_file():
            places[each.tag] = (each, path)
        elif each.tag in places:  # what came with the package outweighs a note that others may have changed
            places[each.tag] = (each, places[each.tag][1])
    return places.get(tag or default_tag(places) or "")


def _same_bytes(weights: Weights) -> Path | None:
    """Where the file lies on this machine, if it does: the package, the cache, or the folder of torch's own hub."""
    torch_home = Path(os.environ.get("TORCH_HOME") or user_cache() / "torch").expanduser()
    folders = (SHIPPED, cache_folder(), torch_home / "hub" / "checkpoints")
    for path in (folder / weights.file for folder in folders):
        try:
            if path.stat().st_size == weights.bytes and sha256_of(path) == weights.sha256:
                return path
        except OSError:
            continue
    return None


def _wait(name: str, tag: str | None, source: str | None) -> tuple[Weights, Path] | None:
    """Wait until the first rank has fetched the weights; None when nothing has moved for long."""
    from zoo.hub_transfer import parts

    seen, since = None, time.monotonic()
    while time.monotonic() - since < _PATIENCE:
        if found := _here(name, tag, source):
            return found
        if (now := parts(cache_folder(), f"{name}.")) != seen:
            seen, since = now, time.monotonic()
        time.sleep(_LOOK_EVERY)
    return None


def _keep(weights: Weights, lying_about: Path | None) -> Path:
    """Put a file into the cache, from where it lies or from its source."""
    from zoo.hub_transfer import fetch

    path = cached_path(weights.name, weights.tag)
    taken = next((each for each in cached() if each.full_name == weights.full_name), None)
    if taken is not None and taken.sha256 != weights.sha256:
        raise WeightsError(
            f"{path} is another {weights.full_name}, from {taken.source or 'this machine'}; remove it "
            f"(sritm cache --clear {weights.full_name}) to have the one of {weights.source}"
        )
    url = lying_about.as_uri() if lying_about else f"{weights.source}/{quote(weights.file)}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_note(weights)  # before the file: who sees the file also sees what it has to be
        if lying_about != path:
            fetch(url, path, weights.bytes, weights.sha256, lambda done: _draw_bar(weights, done))
    except OSError as error:
        raise WeightsError(
            f"{path.parent} can't keep {weights.full_name} ({error.strerror or error}); free room there, or name "
            "another folder with SRITM_HOME"
        ) from error
    return path


def _draw_bar(weights: Weights, done: int) -> None:
    """How far a download is, on a terminal."""
    if sys.stderr.isatty():
        bar = ("#" * (30 * done // weights.bytes)).ljust(30, ".")
        end = "\n" if done == weights.bytes else ""
        text = f"\r{weights.full_name} [{bar}] {done / 1e6:.1f} of {weights.bytes / 1e6:.1f} MB"
        print(text, end=end, file=sys.stderr, flush=True)
