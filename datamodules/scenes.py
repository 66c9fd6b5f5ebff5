"""Which panoramas a set is made from: files, folders, or a list of them by split."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from datamodules.manifest import SPLITS
from datamodules.sources import SUFFIXES, scene_name
from zoo.errors import DataError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Scene:
    """A panorama file by the name of its scene: letters, digits, ``_`` and ``-``; one name is in one split only."""

    name: str
    path: Path
    licence: str | None = None


def find_scenes(paths: Iterable[Path]) -> list[Scene]:
    """The panoramas among files and folders (folders without their subfolders), in the order of their names.

    Raises:
        DataError: a path doesn't exist, is another kind of file, or a folder without panoramas.
    """
    files = set()
    for path in paths:
        if path.is_dir():
            found = [file for file in path.iterdir() if file.suffix.lower() in SUFFIXES]
            if not found:
                raise DataError(f"folder {path} holds no panorama ({', '.join(SUFFIXES)}); name another")
            files.update(found)
        elif path.is_file() and path.suffix.lower() in SUFFIXES:
            files.add(path)
        else:
            what = "is no panorama" if path.exists() else "doesn't exist"
            raise DataError(f"{path} {what}; give {' or '.join(SUFFIXES)} files, or folders of them")
    return sorted((Scene(scene_name(file), file) for file in files), key=lambda scene: (scene.name, scene.path))


def read_split(split_file: Path, folders: Sequence[Path]) -> dict[str, list[Scene]]:
    """The panoramas of a JSON file ``{"train": [{"file": ..., "scene": ...}, ...], "val": [...], "test": [...]}``.

    Each ``file`` is looked for beside the split file, then in ``folders``. Entries that are nowhere are named in one
    line of the log. Without ``scene``, the name follows from the file's. ``licence`` beside the splits holds for all
    pictures; other keys are ignored.

    Args:
        split_file: the JSON file.
        folders: where panoramas may lie.

    Returns:
        Scenes that exist, by split, in the order of their names.

    Raises:
        DataError: the file can't be read, or no panorama of it was found.
    """
    try:
        content = json.loads(split_file.read_text(encoding="utf-8"))
        licence = content.get("licence")
        wanted = [
            (split, Path(entry["file"]), entry.get("scene")) for split in SPLITS for entry in content.get(split, ())
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"split file {split_file} can't be read ({error!r}); it is JSON with lists of entries with a `file` each"
        ) from error
    splits: dict[str, list[Scene]] = {split: [] for split in SPLITS}
    missing = []
    for split, file, name in wanted:
        found = next((folder / file for folder in (split_file.parent, *folders) if (folder / file).is_file()), None)
        if found is None:
            missing.append(str(file))
        else:
            splits[split].append(Scene(scene_name(Path(name or file.name)), found, licence))
    if missing:
        logger.warning(
            "%d of %d panoramas of %s not found: %s", len(missing), len(wanted), split_file, ", ".join(missing)
        )
    if not any(splits.values()):
        raise DataError(f"none of the {len(wanted)} panoramas of {split_file} was found; give their folders as SRC")
    return {split: sorted(scenes, key=lambda scene: scene.name) for split, scenes in splits.items()}
