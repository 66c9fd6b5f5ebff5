"""What models are scored on: shard sets and sources of any kind, as named frames of one scale."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from datamodules.cache import ShardCache
from datamodules.embedded import embedded_scenes
from datamodules.manifest import MANIFEST
from datamodules.pairs import PRESET, PairMaker
from datamodules.patches import GRID
from datamodules.presets import Preset, preset
from datamodules.reader import ShardReader
from datamodules.remote import is_remote
from datamodules.scenes import Reading, Scene, find_scenes
from datamodules.sets import Shard, ShardSet, open_set
from datamodules.sources import KaistMat, Source, scene_name
from datamodules.sources.frame import Frame
from zoo.errors import ConfigError, DataError, SignalError
from zoo.files import sha256_of
from zoo.home import sritm_home
from zoo.ops.resize import imresize
from zoo.signal import HDR10_VIDEO, SDR_VIDEO

EMBEDDED = "embedded"
"""Name of the set of the photographs that lie in the checkout."""

NOTHING_STATED = Reading()
"""Of sources whose files say all of themselves."""

VAL_V1 = preset(PRESET)
"""How pairs are made of sources, unless another preset is asked for."""

_CACHE_BYTES = 10 * 10**9  # for the shards of remote sets, on this machine's disk
_PROBES = 5  # frames that tell a set of another scale from a pair of another size


@dataclass(frozen=True)
class EvaluationFrame:
    """One pair to score a model on.

    Attributes:
        key: unique in the set.
        scene: frames of one scene aren't independent.
        sdr: ``(3, h, w)`` float32, code / 255 on ``SDR_VIDEO``.
        hdr: ``(3, H, W)`` float32, code / 1023 on ``HDR10_VIDEO``.
    """

    key: str
    scene: str
    sdr: Tensor
    hdr: Tensor


class Item(NamedTuple):
    """What is read at once: a sample, or a frame of a source, which gives one frame to score or several.

    Attributes:
        name: unique in the set, whatever is left out of it.
        source: which shard set or source of the set.
        number: which of its samples or frames.
    """

    name: str
    source: int
    number: int


class EvaluationSet(Protocol):
    """Frames of one scale on the signals of the zoo's networks.

    Attributes:
        name: for people.
        scale: HR over LR size.
        digest: SHA-256 in hex of all that the frames follow from.
        facts: how the frames were made, for the record.
        items: in the order of the table.
    """

    name: str
    scale: int
    digest: str
    facts: dict[str, Any]
    items: list[Item]

    def read(self, items: Sequence[Item]) -> Iterator[tuple[Item, list[EvaluationFrame] | DataError]]:
        """The frames of items, or why they can't be had; what comes after goes on.

        Raises:
            ConfigError: the set has another scale than it was opened for.
        """
        ...


class ShardFrames:
    """A split of a shard set; see ``EvaluationSet``.

    Each process hashes each shard that it reads, once. Of a shard that isn't what ``dataset.json`` says no sample is
    given: there is no digest of a sample, so that damage inside an array can't be told from the picture, and a mean
    with such a frame in it would be of other data than those it names.
    """

    def __init__(self, shards: ShardSet, split: str) -> None:
        manifest = shards.manifest
        _check_signals(shards.name, manifest.signals)
        if not manifest.samples(split):
            held = ", ".join(name for name in manifest.splits if manifest.samples(name)) or "nothing"
            raise ConfigError(f"{shards.name} has no samples to evaluate on in --split {split}; it has {held}")
        shards.check_room(split)
        self.name = f"{shards.name} ({split})"
        self.scale = manifest.scale
        self.digest = _digest([manifest.digest, split])
        self.facts = {
            "kind": "shards",
            "split": split,
            "preset": manifest.preset,
            "seed": manifest.seed,
            "input": f"8-bit codes, as preset {manifest.preset} makes them",
        }
        self._damage: dict[int, str | None] = {}
        # What can't be read is counted here, frame by frame.
        self._reader = ShardReader(shards.shards(split), manifest.scale, tolerate_damage=True)
        self.items = [Item(f"{split}-{number:05d}", 0, number) for number in range(len(self._reader))]

    def read(self, items: Sequence[Item]) -> Iterator[tuple[Item, list[EvaluationFrame] | DataError]]:
        """See ``EvaluationSet``."""
        for item in items:
            yield item, self._found(item)

    def _found(self, item: Item) -> list[EvaluationFrame] | DataError:
        number = int(self._reader.shard_of(np.asarray(item.number)))
        shard = self._reader.shards[number]
        if number not in self._damage:
            self._damage[number] = _damage_of(shard)
        if (damage := self._damage[number]) is not None:
            return DataError(damage)
        sample = self._reader.read_if_there(item.number)
        if sample is None:
            return DataError(f"a sample of shard {shard.name} is no pair of x{self.scale}; make the set anew")
        scene = sample.meta.get("scene") or sample.key.rpartition("-")[0]
        return [_frame(sample.key, scene, sample.sdr, sample.hdr)]


class SourceFrames:
    """Frames of sources, made into pairs by a preset at a scale; see ``EvaluationSet``.

    Of panoramas each gives four frames. SDR of true pairs is brought to the scale by MATLAB's bicubic and rounded; of
    the KAIST files it stays unrounded, as the authors' test does.

    Args:
        name: for people.
        scenes: the sources.
        scale: 1, 2 or 4.
        pairing: the preset. Its name tells all of it, and seed 0 draws what it leaves open.

    Raises:
        DataError: none of the sources can be used; why the first can't.
    """

    def __init__(self, name: str, scenes: Sequence[Scene], scale: int, pairing: Preset = VAL_V1) -> None:
        self.name = name
        self.scale = scale
        self._pairing = pairing
        self._scenes = list(scenes)
        self._sources: list[Source | DataError] = [_opened(scene) for scene in scenes]
        usable = [source for source in self._sources if not isinstance(source, DataError)]
        if not usable:
            raise next(source for source in self._sources if isinstance(source, DataError))
        digests = [_digest_of_source(source) for source in self._sources]
        readings = [repr(scene.reading) for scene in scenes]
        self.digest = _digest([pairing.name, scale, [scene.name for scene in scenes], digests, readings])
        self.facts = {
            "kind": "sources",
            "preset": pairing.name,
            "sources": {scene.name: digest for scene, digest in zip(scenes, digests, strict=True)},
            "input": _input(usable, pairing.name),
        }
        self.items = [
            Item(f"{scene.name}-{number:05d}", index, number)
            for index, (scene, source) in enumerate(zip(scenes, self._sources, strict=True))
            for number in range(1 if isinstance(source, DataError) else source.frame_count)
        ]

    def read(self, items: Sequence[Item]) -> Iterator[tuple[Item, list[EvaluationFrame] | DataError]]:
        """See ``EvaluationSet``."""
        for run in _runs(items):
            scene, source = self._scenes[run[0].source], self._sources[run[0].source]
            if isinstance(source, DataError):
                yield run[0], source
                continue
            left = list(run)
            while left:
                stride = left[1].number - left[0].number if len(left) > 1 else 1
                frames = source.frames(left[0].number, left[-1].number + 1, stride)
                try:
                    for frame in frames:
                        item = left[0]
                        made = self._pairs(scene, source, frame, item)
                        left.pop(0)
                        yield item, made
                    if left:
                        raise DataError(f"{scene.path}: ends before frame {left[0].number}; is the file whole?")
                except DataError as error:
                    # A damaged frame ends its decoder; a new one goes on behind it.
                    yield left.pop(0), error

    def _pairs(self, scene: Scene, source: Source, frame: Frame, item: Item) -> list[EvaluationFrame]:
        self._check_scale(scene, frame)
        if frame.sdr is not None and self._pairing.name != PRESET:
            raise ConfigError(
                f"{scene.path} brings its own SDR side, so none can be made of it; give HDR alone, such as panoramas"
            )
        if isinstance(source, KaistMat):
            return [self._kaist_pair(scene, frame, item)]
        maker = PairMaker(self._pairing, self.scale, 0, scene.name, scene.path.name, source.panoramic)
        pairs = list(maker.validation(frame))
        if source.panoramic:
            named = [(f"{scene.name}-{number}", scene.name) for number in range(len(pairs))]
        else:
            # Frames of a film are of one scene; the pictures of a folder stand for themselves.
            named = [(item.name, scene.name if hasattr(source, "shots") or scene.is_raw else item.name)]
        return [_frame(*names, pair.sdr, pair.hdr) for names, pair in zip(named, pairs, strict=True)]

    def _kaist_pair(self, scene: Scene, frame: Frame, item: Item) -> EvaluationFrame:
        assert frame.sdr is not None
        sdr, hdr = frame.sdr.values.float(), frame.hdr.values.float()
        if sdr.shape == hdr.shape and self.scale > 1:
            height, width = hdr.shape[-2:]
            if height % self.scale or width % self.scale:
                raise DataError(f"{scene.path}: {width}x{height} can't be reduced by {self.scale}; cut it to size")
            sdr = imresize(sdr, 1 / self.scale)
        return EvaluationFrame(item.name, item.name, sdr, hdr)

    def _check_scale(self, scene: Scene, frame: Frame) -> None:
        """Refuse a pair whose SDR side is neither of HR size nor LR of the scale.

        Raises:
            DataError: such a pair among others.
            ConfigError: the set is of another scale.
        """
        if _fits(frame, self.scale):
            return
        assert frame.sdr is not None
        (height, width), (sdr_height, sdr_width) = frame.hdr.values.shape[-2:], frame.sdr.values.shape[-2:]
        sizes = f"SDR of frame {frame.number} is {sdr_width}x{sdr_height}, HDR {width}x{height}"
        if self._has_pairs:
            raise DataError(f"{scene.path}: {sizes}, which is no pair of x{self.scale}")
        other = next((scale for scale in (1, 2, 4) if _fits(frame, scale)), None)
        if other is None:
            raise ConfigError(f"{scene.path}: {sizes}, which is no set of scale {self.scale}")
        raise ConfigError(
            f"{scene.path}: its SDR side is 1/{other} of the HDR side, which is no set of scale {self.scale}; "
            f"take --scale {other} and models of it"
        )

    @cached_property
    def _has_pairs(self) -> bool:
        """Whether one of some frames, spread over the set, is of its scale: the same for all processes."""
        for item in spread(self.items, _PROBES):
            source = self._sources[item.source]
            if isinstance(source, DataError):
                continue
            try:
                frame = next(source.frames(item.number, item.number + 1), None)
            except DataError:
                continue
            if frame is not None and _fits(frame, self.scale):
                return True
        return False


class JoinedSets:
    """Several sets after each other; see ``EvaluationSet``. Names and keys begin with the number of their set."""

    def __init__(self, sets: Sequence[EvaluationSet]) -> None:
        digests = [part.digest for part in sets]
        if twice := next((part.name for part in sets if digests.count(part.digest) > 1), None):
            raise ConfigError(f"{twice} is there twice; name each set and each --split once")
        if len({part.scale for part in sets}) > 1:
            scales = ", ".join(f"{part.name} x{part.scale}" for part in sets)
            raise ConfigError(f"sets of several scales can't be one table ({scales}); evaluate them one by one")
        self._sets = list(sets)
        self.name = " + ".join(part.name for part in sets)
        self.scale = sets[0].scale
        self.digest = _digest([part.digest for part in sets])
        self.facts = {"kind": "several", "sets": [part.facts for part in sets]}
        self.facts["input"] = "; ".join(dict.fromkeys(part.facts["input"] for part in sets))
        self.items = [
            Item(f"{index + 1}/{item.name}", index, number)
            for index, part in enumerate(sets)
            for number, item in enumerate(part.items)
        ]

    def read(self, items: Sequence[Item]) -> Iterator[tuple[Item, list[EvaluationFrame] | DataError]]:
        """See ``EvaluationSet``."""
        for index, part in enumerate(self._sets):
            outer = [item for item in items if item.source == index]
            read = part.read([part.items[item.number] for item in outer])
            for item, (_, found) in zip(outer, read, strict=True):
                if not isinstance(found, DataError):
                    found = [replace(frame, key=f"{index + 1}/{frame.key}") for frame in found]
                yield item, found


def open_sets(
    data: Sequence[str],
    splits: Sequence[str] = ("test",),
    scale: int | None = None,
    reading: Reading = NOTHING_STATED,
    pairing: Preset = VAL_V1,
) -> EvaluationSet:
    """Open what ``--data`` names.

    Args:
        data: each ``embedded``; the folder or URL of a shard set; a JSON file of splits; or sources as
            ``datamodules.scenes.find_scenes`` takes them: files, pairs ``HDR+SDR``, folders.
        splits: of the embedded photographs, shard sets and JSON files; other sources have none. A JSON file may have
            splits of any name.
        scale: to make pairs at; 2 by default. A shard set has its own, which must be this one.
        reading: what the sources don't say about themselves.
        pairing: the preset by which the SDR side is made of sources; shard sets have theirs.

    Raises:
        DataError: a path that isn't there or is no source, or none of the sources can be used.
        ConfigError: a scale or split that the set doesn't have, a set or split named twice, or a preset other than
            ``val-v1`` for a shard set.
        SignalError: a shard set on other signals than the zoo's networks.
    """
    sets: list[EvaluationSet] = []
    scenes: list[Scene] = []
    for name in data:
        if is_remote(name) or name.startswith("file:") or (Path(name) / MANIFEST).is_file():
            if pairing.name != PRESET:
                raise ConfigError(f"{name} holds SDR that is made already; give sources of HDR, such as panoramas")
            shards = open_set(name, ShardCache(sritm_home() / "cache", _CACHE_BYTES))
            if scale is not None and shards.manifest.scale != scale:
                raise ConfigError(
                    f"{name} has scale {shards.manifest.scale}, not {scale}; give models of x{shards.manifest.scale}, "
                    "or a set of theirs"
                )
            sets += [ShardFrames(shards, split) for split in splits]
        elif name == EMBEDDED:
            by_split = embedded_scenes()
            _check_splits(name, splits, by_split)
            scenes += [scene for split in splits for scene in by_split[split]]
        elif Path(name).suffix == ".json":
            scenes += _scenes_of_split_file(Path(name), splits, reading)
        else:
            scenes += find_scenes([Path(name)], reading)
    if scenes:
        names = [scene.name for scene in scenes]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ConfigError(f"scene {twice} is there twice; name each source once")
        of_splits = f" ({'+'.join(splits)})"
        named = [f"{name}{of_splits if name == EMBEDDED or name.endswith('.json') else ''}" for name in data]
        sets.append(SourceFrames(" + ".join(named), scenes, scale or 2, pairing))
    if not sets:
        raise ConfigError(f"{', '.join(data)} holds nothing under --split {' '.join(splits)}")
    return sets[0] if len(sets) == 1 else JoinedSets(sets)


def spread(items: Sequence[Item], limit: int | None) -> list[Item]:
    """At most ``limit`` of the items, each from the middle of an equal share of them."""
    count = len(items) if limit is None else min(limit, len(items))
    return [items[(2 * i + 1) * len(items) // (2 * count)] for i in range(count)]


def _scenes_of_split_file(file: Path, splits: Sequence[str], reading: Reading) -> list[Scene]:
    """The sources of some splits; what isn't there is an error, since a figure is of the whole split."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        listed = {name: entries for name, entries in content.items() if isinstance(entries, list)}
        _check_splits(str(file), splits, listed)
        scenes = []
        for entry in (entry for split in splits for entry in listed[split]):
            path = file.parent / entry["file"]
            sdr_path = file.parent / entry["sdr"] if "sdr" in entry else None
            name = scene_name(Path(entry.get("scene") or path.name))
            scenes.append(Scene(name, path, entry.get("licence"), sdr_path, reading))
    except OSError as error:
        raise DataError(f"split file {file} can't be read: {error.strerror or error}; name another") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"split file {file} can't be read ({error!r}); it is JSON with lists of entries with a `file` each"
        ) from error
    return scenes


def _check_splits(name: str, splits: Sequence[str], known: dict[str, Any]) -> None:
    for split in splits:
        if split not in known:
            raise ConfigError(f"{name} has no --split {split}; it has {', '.join(known)}")


def _check_signals(name: str, signals: dict[str, str]) -> None:
    """Refuse a shard set on other signals than the zoo's networks, or one that doesn't say."""
    for side, wanted in (("sdr", SDR_VIDEO), ("hdr", HDR10_VIDEO)):
        if side not in signals:
            raise SignalError(f"{name} doesn't say which signal its {side} side is on; make the set anew")
        if signals[side] != str(wanted):
            raise SignalError(f"{name}: its {side} side is on {signals[side]}, a network wants {wanted}")


def _damage_of(shard: Shard) -> str | None:
    """Why a shard can't be used; None if its bytes are those that the manifest names."""
    entry = shard.entry
    try:
        with shard.open() as stream:
            if (size := os.fstat(stream.fileno()).st_size) != entry.bytes:
                return f"shard {shard.name} has {size} bytes, dataset.json says {entry.bytes}; {_REMEDY}"
            digest = hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]  # all have readinto
    except DataError as error:
        return str(error)
    except OSError as error:
        return f"shard {shard.name} can't be read ({error.strerror or error}); {_REMEDY}"
    if digest != entry.sha256:
        return f"shard {shard.name} has SHA-256 {digest[:12]}..., dataset.json says {entry.sha256[:12]}...; {_REMEDY}"
    return None


_REMEDY = "copy it or make the set anew"


def _fits(frame: Frame, scale: int) -> bool:
    """Whether a frame can be a pair of the scale; what brings no SDR side can."""
    if frame.sdr is None:
        return True
    (height, width), size = frame.hdr.values.shape[-2:], tuple(frame.sdr.values.shape[-2:])
    return size in ((height, width), (height / scale, width / scale))


def _opened(scene: Scene) -> Source | DataError:
    try:
        return scene.open()
    except DataError as error:
        return error


def _digest_of_source(source: Source | DataError) -> str:
    if isinstance(source, DataError):
        return "unusable"
    try:
        digests = [sha256_of(file) for file in source.files()]
    except OSError as error:
        raise DataError(f"{source.path}: can't be read ({error.strerror or error})") from error
    return digests[0] if len(digests) == 1 else _digest(digests)


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _input(sources: Sequence[Source], preset_name: str) -> str:
    """How the LR side is made, in words."""
    kaist = [isinstance(source, KaistMat) for source in sources]
    rounded = f"8-bit codes: {preset_name}, reduced by MATLAB's bicubic and rounded"
    if not all(source.panoramic or isinstance(source, KaistMat) for source in sources):
        rounded += f"; flat frames are cut to multiples of {GRID} on the right and at the bottom"
    unrounded = "KAIST: reduced by MATLAB's bicubic in float32, neither rounded nor clipped"
    return unrounded if all(kaist) else f"{rounded}; {unrounded}" if any(kaist) else rounded


def _runs(items: Sequence[Item]) -> Iterator[list[Item]]:
    """The items as few lists of constant stride of one source."""
    run: list[Item] = []
    for item in items:
        if run and (
            item.source != run[0].source
            or item.number <= run[-1].number
            or (len(run) > 1 and item.number - run[-1].number != run[1].number - run[0].number)
        ):
            yield run
            run = []
        run.append(item)
    if run:
        yield run


def _frame(key: str, scene: str, sdr: np.ndarray, hdr: np.ndarray) -> EvaluationFrame:
    # Divided in float32, as the authors do.
    return EvaluationFrame(key, scene, _signal(sdr, SDR_VIDEO.peak), _signal(hdr, HDR10_VIDEO.peak))


def _signal(codes: np.ndarray, peak: int) -> Tensor:
    return torch.from_numpy(rearrange(codes, "h w c -> c h w").astype(np.float32, order="C")) / peak
