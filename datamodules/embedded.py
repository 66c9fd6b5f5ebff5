"""The photographs that lie in the checkout, and the set of shards made from them."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from pathlib import Path

from datamodules.making import make_set
from datamodules.manifest import FORMAT_VERSION, MANIFEST, SPLITS
from datamodules.pairs import PRESET
from datamodules.presets import preset
from datamodules.scenes import Scene, read_split
from zoo.errors import DataError
from zoo.files import sha256_of
from zoo.home import sritm_home

logger = logging.getLogger(__name__)

PHOTOGRAPHS = Path(__file__).parent / "panoramas"
"""Folder of the photographs, with their data card."""

PATCHES = preset(PRESET).patches_per_panorama
"""Training patches of each photograph."""

_LIST = "panoramas.json"
_SEED = 0
_COMMAND = "python tools/make_shards.py --split datamodules/panoramas/panoramas.json --scale {scale} -o DIR"


def embedded_scenes() -> dict[str, list[Scene]]:
    """The embedded photographs by split.

    Raises:
        DataError: they aren't there, as in an installed package, or one of them isn't what it was.
    """
    for file, digest in _digests().items():
        path = PHOTOGRAPHS / file
        if not path.is_file():
            raise DataError(
                "data.root=embedded needs the photographs of a source checkout, which installed packages leave out; "
                f"clone the repository, or give a folder made with tools/make_shards.py (missing: {path})"
            )
        if sha256_of(path) != digest:
            raise DataError(f"embedded photograph {path} was changed; restore it from the repository")
    return read_split(PHOTOGRAPHS / _LIST, [])


def embedded_root(scale: int) -> Path:
    """Where the shards of the embedded photographs lie for a scale; the name holds a digest of all they follow from."""
    facts = [(PHOTOGRAPHS / _LIST).read_text(encoding="utf-8"), PRESET, _SEED, scale, PATCHES, FORMAT_VERSION]
    digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]
    return sritm_home() / "shards" / f"embedded-x{scale}-{digest}"


def make_embedded(scale: int) -> Path:
    """Make the shards of the embedded photographs, unless they are there; 181 MB at scale 2, about ten seconds.

    Safe where several processes do it at once: each works in a folder of its own and the first to be done wins.

    Returns:
        The folder of the set.

    Raises:
        DataError: no photographs (an installed package), or the folder can't be written.
    """
    folder = embedded_root(scale)
    if (folder / MANIFEST).is_file():
        return folder
    scenes = embedded_scenes()
    logger.info("making shards of the embedded photographs in %s (once)", folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary:
            made = Path(temporary, "set")
            make_set(made, scenes, scale, PRESET, _SEED, PATCHES, command=_COMMAND.format(scale=scale))
            os.rename(made, folder)
    except (DataError, OSError) as error:
        if not (folder / MANIFEST).is_file():  # nor did another process make it meanwhile
            what = error if isinstance(error, DataError) else f"can't write {folder}: {error.strerror or error}"
            raise DataError(f"{what} (SRITM_HOME says where the embedded set goes)") from error
    return folder


def _digests() -> dict[str, str]:
    """SHA-256 that each file must have."""
    listed = json.loads((PHOTOGRAPHS / _LIST).read_text(encoding="utf-8"))
    return {entry["file"]: entry["sha256"] for split in SPLITS for entry in listed[split]}
