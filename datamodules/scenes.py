"""Which sources a set is made from: files, folders, pairs, or a list of them by split."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from datamodules.manifest import SPLITS
from datamodules.sources.frame import Source
from datamodules.sources.opening import SUFFIXES, open_source
from datamodules.sources.paired_folder import HDRRange, is_paired_folder
from datamodules.sources.panorama import scene_name
from datamodules.sources.raw_yuv import Layout, RawYUV
from zoo.errors import DataError, SignalError
from zoo.signal import Signal

logger = logging.getLogger(__name__)

RAW_SUFFIX = ".yuv"
"""Ending of raw video, which is read by what ``Reading`` says alone."""


@dataclass(frozen=True)
class Reading:
    """What files may not say about themselves; said once for all sources of a set.

    Attributes:
        signal: of the HDR side, where files carry no tags.
        sdr_signal: of the SDR side of pairs, where files carry no tags.
        panoramic: whether pictures of scene light are panoramas; None tells it by their shape.
        hdr_range: of the HDR pictures in folders of pairs; see ``PairedFolder``.
        size: height and width of raw video.
        layout: of its planes; see ``RawYUV``.
    """

    signal: Signal | None = None
    sdr_signal: Signal | None = None
    panoramic: bool | None = None
    hdr_range: HDRRange = "full"
    size: tuple[int, int] | None = None
    layout: Layout = "420"


@dataclass(frozen=True)
class Scene:
    """A source by the name of its scene, which is in one split only.

    Attributes:
        name: letters, digits, ``_`` and ``-``.
        path: a file or folder; the HDR side where ``sdr_path`` is given.
        licence: of the pictures, if known.
        sdr_path: the SDR side of a pair of files or folders.
        reading: how to read it.
    """

    name: str
    path: Path
    licence: str | None = None
    sdr_path: Path | None = None
    reading: Reading = Reading()

    @property
    def is_raw(self) -> bool:
        """Whether it is raw video, which is read by what ``reading`` says alone."""
        return self.path.suffix.lower() == RAW_SUFFIX

    def absolute(self) -> Scene:
        """The same source by absolute paths, for workers that were started elsewhere."""
        sdr_path = None if self.sdr_path is None else self.sdr_path.absolute()
        return replace(self, path=self.path.absolute(), sdr_path=sdr_path)

    def open(self) -> Source:
        """Open and check the source.

        Raises:
            DataError: it can't be used.
        """
        try:
            if self.is_raw:
                return self._open_raw()
            return open_source(
                self.path,
                pair=self.sdr_path,
                signal=self.reading.signal,
                sdr_signal=self.reading.sdr_signal,
                panoramic=self.reading.panoramic,
                hdr_range=self.reading.hdr_range,
            )
        except SignalError as error:
            raise DataError(f"{self.path}: {error}") from error
        except OSError as error:
            raise DataError(f"{self.path}: can't be read ({error.strerror or error})") from error

    def _open_raw(self) -> Source:
        reading = self.reading
        if self.sdr_path is not None:
            raise DataError(f"{self.path}: raw video can't be a side of a pair; put it into a container, such as .mkv")
        if reading.size is None or reading.signal is None:
            raise DataError(f"{self.path}: raw video says nothing about itself; give --size WIDTHxHEIGHT and --signal")
        return RawYUV(self.path, reading.size, reading.signal, reading.layout)


def find_scenes(paths: Iterable[Path], reading: Reading = Reading()) -> list[Scene]:
    """The sources that paths name, in the order of the scenes' names.

    Args:
        paths: each a file; a pair as ``HDR+SDR``, two files or two folders; a folder of pairs, which is one source; or
            any other folder, of which each file is a source that opens by itself and isn't hidden (those of its
            subfolders aren't). What else it holds is counted in one line of the log.
        reading: how to read them.

    Raises:
        DataError: a path doesn't exist, is another kind of file, or a folder without sources.
    """
    scenes: set[Scene] = set()
    for path in paths:
        hdr_path, sdr_path = _sides(path)
        if sdr_path is None and hdr_path.is_dir() and not is_paired_folder(hdr_path):
            found = _sources_in(hdr_path)
            if not found:
                raise DataError(f"folder {path} holds no source ({', '.join(SUFFIXES)}); name another")
            scenes.update(Scene(scene_name(file), file, reading=reading) for file in found)
        elif sdr_path is not None or hdr_path.is_dir() or hdr_path.suffix.lower() in (*SUFFIXES, RAW_SUFFIX):
            scenes.add(Scene(scene_name(hdr_path), hdr_path, sdr_path=sdr_path, reading=reading))
        else:
            raise DataError(f"{path} is no source; give {', '.join(SUFFIXES)} files, or folders of them")
    return sorted(scenes, key=lambda scene: (scene.name, scene.path))


def _sources_in(folder: Path) -> list[Path]:
    """The files of a folder that are sources by themselves; hidden ones are litter of file systems and editors."""
    shown = [path for path in folder.iterdir() if not path.name.startswith(".")]
    found = [path for path in shown if path.is_file() and path.suffix.lower() in SUFFIXES]
    others = Counter("folders" if path.is_dir() else path.suffix.lower() or "no ending" for path in {*shown} - {*found})
    if others:
        listed = ", ".join(f"{kind} ({count})" for kind, count in sorted(others.items()))
        logger.info("%s gives %d sources; left out: %s", folder, len(found), listed)
    return found


def _sides(path: Path) -> tuple[Path, Path | None]:
    """A path, or the two sides of ``HDR+SDR``; a name that exists as it is may hold a plus."""
    if path.exists():
        return path, None
    parts = str(path).split("+")
    sides = [(Path("+".join(parts[:cut])), Path("+".join(parts[cut:]))) for cut in range(1, len(parts))]
    for hdr_path, sdr_path in sides:
        if hdr_path.exists() and sdr_path.exists():
            return hdr_path, sdr_path
    missing = next((side for side in (sides[0] if len(sides) == 1 else ()) if not side.exists()), path)
    raise DataError(f"{missing} doesn't exist; give a file, a folder, or a pair as HDR+SDR")


def read_split(split_file: Path, folders: Sequence[Path], reading: Reading = Reading()) -> dict[str, list[Scene]]:
    """The sources of a JSON file ``{"train": [{"file": ..., "scene": ...}, ...], "val": [...], "test": [...]}``.

    Each ``file`` is looked for beside the split file, then in ``folders``; so is ``sdr``, the other side of a pair.
    Entries that are nowhere are named in one line of the log. Without ``scene``, the name follows from the file's.
    ``licence`` of an entry, or beside the splits for all, is recorded; other keys are ignored, lists among them with a
    line of the log, because one may be a split that is misspelt.

    Args:
        split_file: the JSON file.
        folders: where sources may lie.
        reading: how to read them.

    Returns:
        Scenes that exist, by split, in the order of their names.

    Raises:
        DataError: the file can't be read, or nothing of it was found.
    """
    places = (split_file.parent, *folders)
    splits: dict[str, list[Scene]] = {split: [] for split in SPLITS}
    wanted, missing = 0, []
    try:
        content = json.loads(split_file.read_text(encoding="utf-8"))
        for split in SPLITS:
            for entry in content.get(split, ()):
                wanted += 1
                path = _locate(entry["file"], places)
                sdr_path = _locate(entry["sdr"], places) if "sdr" in entry else None
                if path is None or ("sdr" in entry and sdr_path is None):
                    missing.append(entry["file"] if path is None else entry["sdr"])
                    continue
                name = scene_name(Path(entry.get("scene") or path.name))
                licence = entry.get("licence", content.get("licence"))
                splits[split].append(Scene(name, path, licence, sdr_path, reading))
        ignored = [key for key, value in content.items() if isinstance(value, list) and key not in SPLITS]
    except OSError as error:
        raise DataError(f"split file {split_file} can't be read: {error.strerror or error}; name another") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"split file {split_file} can't be read ({error!r}); it is JSON with lists of entries with a `file` each"
        ) from error
    if ignored:
        logger.warning("%s: ignored %s; the splits are %s", split_file, ", ".join(ignored), ", ".join(SPLITS))
    if missing:
        logger.warning("%d of %d sources of %s not found: %s", len(missing), wanted, split_file, ", ".join(missing))
    if not any(splits.values()):
        raise DataError(f"none of the {wanted} sources of {split_file} was found; give their folders as SRC")
    return {split: sorted(scenes, key=lambda scene: scene.name) for split, scenes in splits.items()}


def _locate(name: str, folders: Iterable[Path]) -> Path | None:
    return next((folder / name for folder in folders if (folder / name).exists()), None)
