"""``dataset.json``: what a set of shards holds and how it was made."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from zoo.errors import DataError

FORMAT_VERSION = 1
MANIFEST = "dataset.json"
SPLITS = ("train", "val", "test")

# Kinds of the fields that are computed with, or opened.
_KINDS: dict[str, type] = {"scale": int, "samples": int, "bytes": int, "file": str, "sha256": str, "signals": dict}


@dataclass(frozen=True)
class ShardEntry:
    """One shard: ``file`` relative to the set's folder, ``samples`` and ``bytes`` in it, its SHA-256 in hex."""

    file: str
    samples: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class SourceEntry:
    """One picture that samples were made from: its name, its licence if known, the SHA-256 of its file."""

    name: str
    licence: str | None
    digest: str


@dataclass(frozen=True)
class Manifest:
    """The content of ``dataset.json``.

    Args:
        scale: HR over LR size, one for the whole set.
        signals: text forms of the signals of ``sdr`` and ``hdr``.
        preset: name of the protocol that pairs were made by.
        seed: what the random choices of patches were seeded with.
        sources: the pictures used, of all splits.
        splits: shards of ``train``, ``val`` and ``test``; a split may be empty.
        format_version: of the shards and of this file.
    """

    scale: int
    signals: dict[str, str]
    preset: str
    seed: int
    sources: tuple[SourceEntry, ...]
    splits: dict[str, tuple[ShardEntry, ...]]
    format_version: int = FORMAT_VERSION

    @property
    def digest(self) -> str:
        """SHA-256 in hex over the content; equal digests mean equal samples."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    def samples(self, split: str) -> int:
        """Number of samples in ``split``."""
        return sum(entry.samples for entry in self.splits.get(split, ()))

    def write(self, folder: Path) -> None:
        """Write ``dataset.json`` into ``folder``."""
        (folder / MANIFEST).write_text(json.dumps(asdict(self), indent=1, sort_keys=True) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read ``dataset.json`` of ``folder``.

        Raises:
            DataError: no folder, no such file, or not the content that it must have.
        """
        path = folder / MANIFEST
        if not folder.is_dir():
            raise DataError(f"no shard folder {folder}; make one with tools/make_shards.py, or use data.root=embedded")
        if not path.is_file():
            what = f"has no {MANIFEST}" if any(folder.iterdir()) else "is empty"
            raise DataError(f"shard folder {folder} {what}; make the set anew with tools/make_shards.py")
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            version = content["format_version"]
            if version != FORMAT_VERSION:
                raise DataError(
                    f"{path} has format version {version}, this sritm-zoo reads {FORMAT_VERSION}; make the set anew"
                )
            return _parse(content)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{path} is damaged ({error!r}); make the set anew with tools/make_shards.py") from error


def _parse(content: dict[str, Any]) -> Manifest:
    sources = tuple(SourceEntry(**source) for source in content.pop("sources"))
    splits = {split: tuple(ShardEntry(**shard) for shard in shards) for split, shards in content.pop("splits").items()}
    manifest = Manifest(sources=sources, splits=splits, **content)
    for thing in (manifest, *sources, *(entry for entries in splits.values() for entry in entries)):
        for name, value in vars(thing).items():
            if not isinstance(value, _KINDS.get(name, object)):
                raise TypeError(f"{name} is {value!r}")
    return manifest
