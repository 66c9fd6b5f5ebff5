"""Making a set of shards.

Each task makes the samples of a few frames of one source and writes them into a scratch shard; then the samples of all
are dealt to the shards of the set. So memory is bounded by one frame for each worker, the tasks are independent, and
the set is the same for any number of workers. What is finished survives a kill: the same command goes on from there.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from datamodules.card import CARD, SourceFacts, write_card
from datamodules.dealing import Deal, Scratch
from datamodules.executors import Workers, open_workers
from datamodules.manifest import FORMAT_VERSION, MANIFEST, SPLITS, Manifest, SourceEntry
from datamodules.parts import Loss, PartRecord, PartTask, make_part, time_part
from datamodules.plan import (
    Estimate,
    Part,
    Recipe,
    Survey,
    Surveyed,
    SurveyTask,
    by_scene,
    estimate,
    plan_parts,
    run_survey,
)
from datamodules.progress import Progress, counted, file_size
from datamodules.scenes import Scene
from datamodules.workfolder import WorkFolder
from zoo.errors import ConfigError, DataError
from zoo.signal import HDR10_VIDEO, SDR_VIDEO

logger = logging.getLogger(__name__)

_SHARD_BYTES = 64 * 2**20


def make_set(
    folder: Path,
    splits: Mapping[str, Sequence[Scene]],
    scale: int,
    preset: str = "val-v1",
    seed: int = 0,
    patches: int | None = None,
    stride: int | None = None,
    gamut_expansion: bool = False,
    val_frames: int = 16,
    workers: int = 1,
    dask: str | None = None,
    keep_going: bool = False,
    command: str | None = None,
) -> Manifest:
    """Make shards, ``dataset.json`` and a data card; all or nothing appears in ``folder``.

    The samples of ``train`` are patches, mixed so that each shard has some of all scenes; those of ``val`` and ``test``
    are whole frames, in order. What is finished lies in ``.NAME-making`` beside the folder until all is done, and the
    same call goes on from there.

    Args:
        folder: where the set will lie; absent or empty.
        splits: sources by ``train``, ``val`` and ``test``.
        scale: 1, 2 or 4.
        preset: the protocol of the pairs.
        seed: of all that is drawn; not negative.
        patches: training patches of each frame; None for the preset's number.
        stride: frames of a film from one that is used to the next; None for the preset's.
        gamut_expansion: whether light on BT.709 primaries is widened.
        val_frames: at most so many frames of a film are validated or tested on.
        workers: processes to compute with; 1 computes in this one.
        dask: address of a Dask scheduler whose workers compute instead; they must see the same folders.
        keep_going: leave out frames and sources that can't be used, and say so, instead of stopping at the first.
        command: that makes this set, for its data card.

    Returns:
        What was written as ``dataset.json``.

    Raises:
        ConfigError: an argument that can't be.
        DataError: ``folder`` isn't empty, is a mount point or can't be written, a source can't be used, a scene is
            there twice, the disk is too small, or another set is being made there.
    """
    recipe = Recipe(scale, preset, seed, patches, stride, gamut_expansion, val_frames)
    making = _Making(recipe, splits, keep_going)
    folder = Path(os.path.realpath(folder))  # a link can't be replaced by the set
    work = WorkFolder(folder)
    facts = making.facts()
    if (folder / MANIFEST).is_file() and work.left_over(facts):
        # Killed between the last two steps, when the set was in its place already.
        work.remove()
        return Manifest.read(folder)
    check_place(folder)
    with _telling_what_is_kept(work, folder), work.held(facts):
        with _workers(workers, dask) as pool:
            sources = making.survey(pool, work)
            parts = plan_parts(sources, making.recipe, work.surveys)
            records = making.make_parts(pool, sources, parts, work)
        manifest = making.deal(sources, parts, records, work)
        losses = [*making.lost_sources, *(loss for part in parts for loss in records[part.name].losses)]
        frames = Counter(part.scene.name for part in parts for _ in part.frames)
        for loss in losses:
            frames[loss.scene] -= loss.frames
        write_card(
            work.set,
            manifest,
            making.recipe,
            [SourceFacts(split, scene, survey, frames[scene.name]) for split, scene, survey in sources],
            losses,
            command,
        )
        os.rename(work.set, folder)
        work.remove()
    if losses:
        left_out = (counted(sum(loss.frames for loss in losses), "frame"), counted(len(making.lost_sources), "source"))
        logger.warning("left out: %s and %s; %s names them", *left_out, folder / CARD)
    return manifest


def check_place(folder: Path) -> None:
    """Refuse a folder that a set can't be put in the place of.

    Raises:
        DataError: it isn't empty, is a mount point, or lies where nothing can be written.
    """
    folder = Path(os.path.realpath(folder))
    if os.path.ismount(folder):
        raise DataError(f"{folder} is a mount point, which a set can't replace; give a folder inside it")
    parent = next(parent for parent in folder.parents if parent.exists())
    if not (parent.is_dir() and os.access(parent, os.W_OK | os.X_OK)):
        raise DataError(f"can't write {folder}: {parent} is no folder that takes files; choose another")
    if os.path.lexists(folder) and not (folder.is_dir() and not any(folder.iterdir())):
        raise DataError(f"{folder} exists and isn't an empty folder; remove it or choose another")


def estimate_set(
    splits: Mapping[str, Sequence[Scene]], recipe: Recipe, workers: int = 1, dask: str | None = None
) -> Estimate:
    """What making a set would take; sources are opened and a frame or two are tried, nothing is written.

    Args:
        splits: sources by ``train``, ``val`` and ``test``.
        recipe: what the samples would follow from.
        workers: as in ``make_set``.
        dask: as in ``make_set``.

    Raises:
        ConfigError: as in ``make_set``.
        DataError: a source can't be used, or a scene is there twice.
    """
    making = _Making(recipe, splits, keep_going=False)
    with _workers(workers, dask) as pool:
        sources = making.survey(pool, None)
        parts = plan_parts(sources, recipe, None)
        return estimate(parts, by_scene(sources), sum(_seconds(pool, sources, parts).values()) / pool.count)


def _workers(count: int, dask: str | None) -> AbstractContextManager[Workers]:
    if count < 1:
        raise ConfigError(f"workers is {count}; it must be at least 1")
    return open_workers(count, dask)


class _Making:
    """The steps of making one set.

    Args:
        recipe: what the samples follow from.
        splits: sources by split.
        keep_going: whether sources that can't be used are left out.

    Attributes:
        lost_sources: those that were left out as a whole.
    """

    def __init__(self, recipe: Recipe, splits: Mapping[str, Sequence[Scene]], keep_going: bool) -> None:
        self.recipe = recipe
        self.lost_sources: list[Loss] = []
        self._scenes = [(split, scene.absolute()) for split in SPLITS for scene in splits.get(split, ())]
        self._keep_going = keep_going
        places: dict[str, tuple[str, Scene]] = {}
        for split, scene in self._scenes:
            if scene.name in places:
                other_split, other = places[scene.name]
                raise DataError(
                    f"scene {scene.name} is there twice: {other.path} ({other_split}) and {scene.path} ({split}); "
                    "keep one"
                )
            places[scene.name] = (split, scene)

    def facts(self) -> dict[str, Any]:
        """All that the set follows from, as JSON gives it back; the content of files is left to their surveys."""
        facts = {
            **asdict(self.recipe),
            "sources": [[split, asdict(scene)] for split, scene in self._scenes],
            "shard size": _SHARD_BYTES,
            "format version": FORMAT_VERSION,
            "version of sritm-zoo": metadata.version("sritm-zoo"),
        }
        return json.loads(json.dumps(facts, default=str))

    def survey(self, pool: Workers, work: WorkFolder | None) -> list[Surveyed]:
        """Look at all sources, those that were looked at before only for changes."""
        surveys: dict[str, Survey] = {}
        tasks = []
        for _, scene in self._scenes:
            survey = work.survey(scene) if work else None
            if work and survey and (changed := survey.changed_file()):
                if not work.forget(scene.name):
                    raise DataError(
                        f"{changed} changed since shards were made of it; restore it, or remove {work.path}"
                    )
                logger.warning("%s changed since the set was begun; its samples are made anew", changed)
                survey = None
            if survey is None:
                tasks.append(SurveyTask(scene, work.surveys if work else None, self._keep_going))
            else:
                surveys[scene.name] = survey
        for task, found in pool.run(run_survey, tasks):
            if isinstance(found, Survey):
                surveys[task.scene.name] = found
            else:
                self.lost_sources.append(Loss(task.scene.name, 0, found))
        self.lost_sources.sort(key=lambda loss: loss.scene)
        if self._scenes and not surveys:
            raise DataError(f"none of the {len(self._scenes)} sources can be used; {self.lost_sources[0].reason}")
        sources = [(split, scene, surveys[scene.name]) for split, scene in self._scenes if scene.name in surveys]
        _check_splits(sources)
        return sources

    def make_parts(
        self, pool: Workers, sources: Sequence[Surveyed], parts: Sequence[Part], work: WorkFolder
    ) -> dict[str, PartRecord]:
        """Make the scratch shards that aren't there yet; returns the records of all."""
        records, tasks = {}, []
        for part in parts:
            task = PartTask(part, work.parts, self._keep_going)
            if record := task.finished(dealt=work.dealt_split(part.split) is not None):
                records[part.name] = record
            else:
                tasks.append(task)
        if records:
            logger.info("going on: %d of %d parts were made before", len(records), len(parts))
        if not tasks:
            return records
        seconds = _seconds(pool, sources, [task.part for task in tasks])
        expected = estimate(parts, by_scene(sources), sum(seconds.values()) / pool.count)
        logger.info("%s", expected)
        _check_room(work.path, expected)
        progress = Progress("parts", len(parts), len(records), sum(seconds.values()))
        for task, record in pool.run(make_part, tasks):
            part = task.part
            records[part.name] = record
            progress.advance(seconds[part.name], f"{part.split}: {part.scene.name}, {record.entry.samples} samples")
        return records

    def deal(
        self, sources: Sequence[Surveyed], parts: Sequence[Part], records: Mapping[str, PartRecord], work: WorkFolder
    ) -> Manifest:
        """Write the shards that aren't there yet, and the manifest; scratch goes when its split is written."""
        splits = {}
        for split in SPLITS:
            own = [PartTask(part, work.parts, self._keep_going) for part in parts if part.split == split]
            entries = work.dealt_split(split)
            if entries is None:
                deal = Deal(
                    split,
                    [Scratch(task.path, task.part.scene.name, records[task.part.name].entry) for task in own],
                    _SHARD_BYTES,
                )
                progress = Progress(f"{split} shards", len(deal), 0, len(deal))
                entries = []
                for number in range(len(deal)):
                    entry = work.dealt_shard(split, number)
                    if entry is None:
                        entry = deal.write(number, work.set)
                        work.record_shard(split, number, entry)
                    entries.append(entry)
                    progress.advance(1, entry.file)
                work.record_split(split, entries)
            for task in own:
                task.path.unlink(missing_ok=True)
            splits[split] = tuple(entries)
        if not any(splits.values()):
            raise DataError("no frame gives a sample; are they all black, or smaller than 160x160 between black bars?")
        manifest = Manifest(
            scale=self.recipe.scale,
            signals={"sdr": str(SDR_VIDEO), "hdr": str(HDR10_VIDEO)},
            preset=self.recipe.preset,
            seed=self.recipe.seed,
            sources=tuple(SourceEntry(scene.name, scene.licence, survey.digest) for _, scene, survey in sources),
            splits=splits,
        )
        manifest.write(work.set)
        return manifest


def _check_splits(sources: Sequence[Surveyed]) -> None:
    """Refuse one picture under two names in two splits: what is held out would be trained on. In one, only tell."""
    seen: dict[str, tuple[str, Scene]] = {}
    for split, scene, survey in sources:
        other_split, other = seen.setdefault(survey.digest, (split, scene))
        if other_split != split:
            raise DataError(f"{other.path} ({other_split}) and {scene.path} ({split}) are the same; keep one of them")
        if other is not scene:
            logger.warning("%s and %s are the same; what they show counts twice in %s", other.path, scene.path, split)


def _seconds(pool: Workers, sources: Sequence[Surveyed], parts: Sequence[Part]) -> dict[str, float]:
    """Seconds that each part will take one worker.

    The first frames of one part of each kind of source are tried, patches and whole frames apart; others of the kind
    take as long for each pixel and frame.
    """
    surveys = by_scene(sources)
    kinds: dict[tuple[str, bool], list[Part]] = {}
    for part in parts:
        kinds.setdefault((surveys[part.scene.name].kind, part.split == "train"), []).append(part)

    def work(part: Part) -> float:
        height, width = surveys[part.scene.name].size
        return len(part.frames) * height * width

    first = {alike[0].name: alike for alike in kinds.values()}
    seconds = {}
    for tried, of_frame in pool.run(time_part, [alike[0] for alike in kinds.values()]):
        pace = of_frame * len(tried.frames) / work(tried)
        seconds.update({part.name: pace * work(part) for part in first[tried.name]})
    return seconds


def _check_room(folder: Path, expected: Estimate) -> None:
    """Refuse to begin what the disk can't hold; what was made before counts as room."""
    made = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    free = shutil.disk_usage(folder).free
    if expected.peak_bytes > free + made:
        raise DataError(
            f"the set needs {file_size(expected.peak_bytes)} of disk while it is made, {folder.parent} has "
            f"{file_size(free + made)}; make room, choose another folder, or take fewer patches, fewer frames "
            "to validate on, or a larger stride"
        )


@contextmanager
def _telling_what_is_kept(work: WorkFolder, folder: Path) -> Iterator[None]:
    """Make one line of whatever stops the making, and add what is kept."""
    try:
        yield
    except (DataError, OSError) as error:
        if isinstance(error, DataError):
            message, hint = str(error), ", with --keep-going without what can't be used"
        else:
            message, hint = f"can't write {folder}: {error.strerror or error}; make room or choose another folder", ""
        if made := work.parts_made():
            message += f" ({made} finished parts are kept in {work.path}; the same command goes on{hint})"
        elif made := work.surveys_made():
            message += f" (what was learnt of {counted(made, 'source')} is kept in {work.path})"
        raise DataError(message) from error
