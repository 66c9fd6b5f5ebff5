"""Making a set of shards from panoramas.

Each panorama is graded once, by one task, which writes its samples into a scratch shard; then samples of all scenes
are dealt to the shards of the set. So memory is bounded by one panorama for each worker, the tasks are independent,
and the set is the same for any number of workers.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from datamodules.index import read_sample, scan_shard
from datamodules.manifest import SPLITS, Manifest, ShardEntry, SourceEntry
from datamodules.pairs import PRESET, training_patches, validation_frames
from datamodules.scenes import Scene
from datamodules.shards import Sample, sha256_of, write_shard
from datamodules.sources import read_panorama
from zoo.errors import ConfigError, DataError
from zoo.signal import HDR10_VIDEO, SDR_VIDEO

logger = logging.getLogger(__name__)

PATCHES = 120
"""Training patches of a panorama: at 1024x512 they show each pixel about eight times."""

_SHARD_BYTES = 64 * 2**20


def make_set(
    folder: Path,
    splits: Mapping[str, Sequence[Scene]],
    scale: int,
    preset: str = PRESET,
    seed: int = 0,
    patches: int = PATCHES,
    workers: int = 1,
) -> Manifest:
    """Make shards and ``dataset.json`` from panoramas; all or nothing appears in ``folder``.

    The samples of ``train`` are patches, scenes taking turns, so that each shard mixes all; those of ``val`` and
    ``test`` are whole frames, scene by scene.

    Args:
        folder: where the set will lie; absent or empty.
        splits: panoramas by ``train``, ``val`` and ``test``.
        scale: 1, 2 or 4.
        preset: the protocol of the pairs; ``val-v1`` is the only one.
        seed: of the choice of patches; not negative.
        patches: training patches of each panorama.
        workers: processes to compute with; 1 computes in this one.

    Returns:
        What was written as ``dataset.json``.

    Raises:
        ConfigError: an argument that can't be.
        DataError: ``folder`` isn't empty or can't be written, a panorama can't be used, a scene is there twice.
    """
    _check_arguments(splits, scale, preset, seed, patches, workers)
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise DataError(f"{folder} exists and isn't an empty folder; remove it or choose another")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary:
            scratch, whole = Path(temporary, "scratch"), Path(temporary, "set")
            scratch.mkdir()
            whole.mkdir()
            tasks = [
                _SceneTask(scene, split, scale, seed, patches, scratch / f"{scene.name}.tar")
                for split in SPLITS
                for scene in splits.get(split, ())
            ]
            digests = _run(tasks, workers)
            shards = {
                split: _deal(whole, split, [task.path for task in tasks if task.split == split]) for split in SPLITS
            }
            manifest = Manifest(
                scale=scale,
                signals={"sdr": str(SDR_VIDEO), "hdr": str(HDR10_VIDEO)},
                preset=preset,
                seed=seed,
                sources=tuple(
                    SourceEntry(task.scene.name, task.scene.licence, digest)
                    for task, digest in zip(tasks, digests, strict=True)
                ),
                splits=shards,
            )
            manifest.write(whole)
            os.rename(whole, folder)
    except BrokenProcessPool as error:
        raise DataError(
            f"a worker was killed while making {folder}, out of memory perhaps; use fewer workers"
        ) from error
    except OSError as error:
        raise DataError(
            f"can't write {folder}: {error.strerror or error}; make room or choose another folder"
        ) from error
    return manifest


def _check_arguments(
    splits: Mapping[str, Sequence[Scene]], scale: int, preset: str, seed: int, patches: int, workers: int
) -> None:
    if preset != PRESET:
        raise ConfigError(f"preset {preset!r} is unknown; known: {PRESET}")
    if scale not in (1, 2, 4):
        raise ConfigError(f"scale {scale} is unknown; known: 1, 2, 4")
    for name, value, least in (("seed", seed, 0), ("patches", patches, 1), ("workers", workers, 1)):
        if value < least:
            raise ConfigError(f"{name} is {value}; it must be at least {least}")
    places: dict[str, tuple[str, Path]] = {}
    for split, scenes in splits.items():
        for scene in scenes:
            if scene.name in places:
                other_split, other = places[scene.name]
                raise DataError(
                    f"scene {scene.name} is there twice: {other} ({other_split}) and {scene.path} ({split}); keep one"
                )
            places[scene.name] = (split, scene.path)


@dataclass(frozen=True)
class _SceneTask:
    """What one panorama's samples are made with, and the scratch shard for them."""

    scene: Scene
    split: str
    scale: int
    seed: int
    patches: int
    path: Path


def _run(tasks: Sequence[_SceneTask], workers: int) -> list[str]:
    """Make the samples of all scenes; returns the SHA-256 of their files."""
    digests = []
    with _digests(tasks, workers) as results:
        for done, (task, digest) in enumerate(zip(tasks, results, strict=True), start=1):
            digests.append(digest)
            logger.info("%s: %s, panorama %d of %d", task.split, task.scene.name, done, len(tasks))
    return digests


@contextmanager
def _digests(tasks: Sequence[_SceneTask], workers: int) -> Iterator[Iterator[str]]:
    # One thread in any case: sums over a picture differ in the last bit with the number of threads.
    if workers == 1:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield map(_write_scene, tasks)
        finally:
            torch.set_num_threads(threads)
    else:
        # Forked processes would inherit locks of torch's threads.
        with ProcessPoolExecutor(
            workers, mp_context=get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)
        ) as executor:
            yield executor.map(_write_scene, tasks)


def _write_scene(task: _SceneTask) -> str:
    """Write the samples of one scene; returns the SHA-256 of the panorama's file."""
    panorama = replace(read_panorama(task.scene.path), scene=task.scene.name)
    if task.split == "train":
        pairs = training_patches(panorama, task.scale, task.seed, task.patches)
    else:
        pairs = validation_frames(panorama, task.scale)
    write_shard(
        task.path,
        (Sample(f"{task.scene.name}-{i:05d}", pair.sdr, pair.hdr, pair.meta) for i, pair in enumerate(pairs)),
    )
    return sha256_of(task.scene.path)


def _deal(folder: Path, split: str, scratch: Sequence[Path]) -> tuple[ShardEntry, ...]:
    """Deal the samples of scratch shards to shards of about equal size, and remove the scratch."""
    rows = [(path, row) for path in scratch for row in scan_shard(path)]
    if split == "train" and rows:
        each = len(rows) // len(scratch)
        rows = [rows[scene * each + patch] for patch in range(each) for scene in range(len(scratch))]
    count = -(-sum(path.stat().st_size for path in scratch) // _SHARD_BYTES)
    entries = []
    for number, positions in enumerate(np.array_split(np.arange(len(rows)), count) if count else ()):
        samples = (read_sample(*rows[position]) for position in positions)
        entries.append(write_shard(folder / f"{split}-{number:06d}.tar", samples))
    for path in scratch:
        path.unlink()
    return tuple(entries)
