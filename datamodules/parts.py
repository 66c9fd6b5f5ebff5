"""One task of making a set: the samples of a few frames of one source, written as a scratch shard with its record."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from datamodules.manifest import ShardEntry
from datamodules.pairs import Pair, PairMaker
from datamodules.plan import Part, patches_of_frame, shot_of
from datamodules.shards import Sample, is_whole, write_shard
from datamodules.sources.frame import Frame
from zoo.errors import DataError
from zoo.files import write_json


@dataclass(frozen=True)
class Loss:
    """Frames that could not be used, and why."""

    scene: str
    frames: int
    reason: str


@dataclass(frozen=True)
class PartRecord:
    """What a part's scratch shard holds, as it lies beside it in JSON."""

    entry: ShardEntry
    losses: tuple[Loss, ...]

    def write(self, path: Path) -> None:
        """Write it; it appears when it is whole."""
        write_json(path, asdict(self))

    @classmethod
    def read(cls, path: Path) -> PartRecord:
        """Read it back."""
        content = json.loads(path.read_text(encoding="utf-8"))
        return cls(ShardEntry(**content["entry"]), tuple(Loss(**loss) for loss in content["losses"]))


@dataclass(frozen=True)
class PartTask:
    """A part, the folder it is to be written in, and whether frames that can't be used are left out."""

    part: Part
    folder: Path
    keep_going: bool

    @property
    def path(self) -> Path:
        """The scratch shard."""
        return self.folder / f"{self.part.name}.tar"

    @property
    def record_path(self) -> Path:
        """Its record, which is written after it: where it lies, the part is done."""
        return self.folder / f"{self.part.name}.json"

    def finished(self, dealt: bool) -> PartRecord | None:
        """The record if the part was made before, as wanted now and still undamaged.

        Args:
            dealt: whether the scratch shard was dealt and may be gone.
        """
        if not self.record_path.is_file():
            return None
        record = PartRecord.read(self.record_path)
        if record.losses and not self.keep_going:
            return None
        return record if dealt or is_whole(self.path, record.entry) else None


def make_part(task: PartTask) -> PartRecord:
    """Make the samples of a part.

    Raises:
        DataError: a frame can't be used, and frames aren't to be left out.
        OSError: the part can't be written.
    """
    losses: list[Loss] = []
    task.path.parent.mkdir(exist_ok=True)
    with one_thread():
        pairs = _pairs(task.part, losses if task.keep_going else None)
        entry = write_shard(
            task.path, (Sample(f"{i:06d}", pair.sdr, pair.hdr, pair.meta) for i, pair in enumerate(pairs))
        )
    record = PartRecord(entry, tuple(losses))
    record.write(task.record_path)
    return record


def time_part(part: Part) -> float:
    """Seconds that a frame of a part takes, measured on the first one or two; what is wrong with them shows later."""
    start = time.monotonic()
    few = replace(part, frames=part.frames[:2])
    with one_thread(), suppress(DataError):
        for _ in _pairs(few, None):
            pass
    return (time.monotonic() - start) / len(few.frames)


def _pairs(part: Part, losses: list[Loss] | None) -> Iterator[Pair]:
    """The pairs of a part; frames that can't be used are an error, or are left out and told in ``losses``."""
    scene = part.scene

    def lose(frames: int, error: DataError | OSError) -> None:
        reason = str(error) if isinstance(error, DataError) else f"{scene.path}: {error.strerror or error}"
        if losses is None:
            raise DataError(reason) from error
        losses.append(Loss(scene.name, frames, reason))

    try:
        source = part.source()
    except (DataError, OSError) as error:
        lose(len(part.frames), error)
        return
    maker = PairMaker(
        part.recipe.sampling,
        part.recipe.scale,
        part.recipe.seed,
        scene.name,
        scene.path.name,
        source.panoramic,
        part.recipe.gamut_expansion,
    )
    for run in part.runs():
        frames = iter(source.frames(run.start, run.stop, run.step))
        for given in range(len(run)):
            try:
                frame = next(frames, None)
            except (DataError, OSError) as error:
                lose(len(run) - given, error)
                break
            if frame is None:
                break
            try:
                yield from _pairs_of_frame(part, maker, frame)
            except DataError as error:
                lose(1, error)


def _pairs_of_frame(part: Part, maker: PairMaker, frame: Frame) -> Iterator[Pair]:
    if part.split != "train":
        return maker.validation(frame)
    if (shot := shot_of(part.shots, frame.number)) is not None:
        frame = replace(frame, meta={**frame.meta, "shot": shot})
    height, width = frame.hdr.values.shape[-2:]
    return maker.training(frame, patches_of_frame(part, frame.number, (height, width), maker.panoramic))


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread: sums over a picture differ in the last bit with the number of threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
