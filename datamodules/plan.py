"""The plan of a set: what each source holds, and how its frames are shared out to tasks."""

from __future__ import annotations

import hashlib
import json
import pickle
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from datamodules.manifest import SPLITS
from datamodules.patches import GRID, PATCH_SIZE
from datamodules.presets import Preset, frame_numbers, patch_count, preset
from datamodules.progress import duration, file_size
from datamodules.scenes import Scene
from datamodules.sources.frame import Source
from zoo.errors import ConfigError, DataError
from zoo.files import replacing, sha256_of, write_json

# Of about a shard: so much is redone after a kill, and a film gives many tasks.
_PART_BYTES = 64 * 2**20

# What a sample takes beside its codes: headers of three members, padding, and its record.
_OVERHEAD_BYTES = 4096

_SOURCES_CODE = Path(__file__).parent / "sources"


@dataclass(frozen=True)
class Recipe:
    """What the samples of a set follow from, sources aside.

    Attributes:
        scale: 1, 2 or 4.
        preset: name of the protocol of the pairs.
        seed: of all that is drawn; not negative.
        patches: training patches of each frame; None for the preset's number.
        stride: frames of a film from one that is used to the next; None for the preset's.
        gamut_expansion: whether light on BT.709 primaries is widened.
        val_frames: at most so many frames of a film are validated or tested on; they are whole, and large.

    Raises:
        ConfigError: a value that can't be.
    """

    scale: int
    preset: str = "val-v1"
    seed: int = 0
    patches: int | None = None
    stride: int | None = None
    gamut_expansion: bool = False
    val_frames: int = 16

    def __post_init__(self) -> None:
        preset(self.preset)
        if self.scale not in (1, 2, 4):
            raise ConfigError(f"scale {self.scale} is unknown; known: 1, 2, 4")
        least_values = {"seed": 0, "patches": 1, "stride": 1, "val_frames": 1}
        for name, least in least_values.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise ConfigError(f"{name} is {value}; it must be at least {least}")

    @property
    def sampling(self) -> Preset:
        """The preset with the numbers of patches and the strides of this recipe."""
        chosen = preset(self.preset)
        if self.patches is not None:
            chosen = replace(chosen, patches_per_frame=(self.patches, self.patches), patches_per_panorama=self.patches)
        if self.stride is not None:
            chosen = replace(chosen, stride=(self.stride, self.stride))
        return chosen


@dataclass(frozen=True)
class Survey:
    """What planning has to know of a source.

    Attributes:
        kind: its class.
        digest: SHA-256 over its files: of the file, or of the list of digests and names where there are several.
        stamps: path, size and time of change (ns) of each file, by which a change is noticed.
        frame_count: frames of it.
        size: HR height and width.
        panoramic: whether frames are panoramas.
        shots: the first frame of each shot of a film; None where the frames are pictures of their own.
    """

    kind: str
    digest: str
    stamps: tuple[tuple[str, int, int], ...]
    frame_count: int
    size: tuple[int, int]
    panoramic: bool
    shots: tuple[int, ...] | None

    @classmethod
    def parse(cls, content: dict[str, Any]) -> Survey:
        """From what ``dataclasses.asdict`` and JSON made of it."""
        height, width = content.pop("size")
        shots = content.pop("shots")
        return cls(
            stamps=tuple((path, size, time) for path, size, time in content.pop("stamps")),
            size=(height, width),
            shots=None if shots is None else tuple(shots),
            **content,
        )

    def changed_file(self) -> str | None:
        """A file that isn't what it was, if there is one."""
        for stamp in self.stamps:
            path = Path(stamp[0])
            if not path.is_file() or _stamp(path) != stamp:
                return stamp[0]
        return None


@dataclass(frozen=True)
class Part:
    """Frames of one source whose samples are made by one task.

    Attributes:
        number: from 0, in the order of the source's frames.
        scene: the source.
        split: ``train``, ``val`` or ``test``.
        recipe: what the samples follow from.
        frames: numbers of the frames, rising.
        shots: as in the survey.
        opened: where the survey has put the opened source, if anywhere.
    """

    number: int
    scene: Scene
    split: str
    recipe: Recipe
    frames: tuple[int, ...]
    shots: tuple[int, ...] | None
    opened: Path | None = None

    def source(self) -> Source:
        """The source, as the survey has opened it, or opened anew where sources are read by newer code.

        Raises:
            DataError: it can't be used.
        """
        code_time = max(file.stat().st_mtime for file in _SOURCES_CODE.glob("*.py"))
        if self.opened is not None and self.opened.is_file() and self.opened.stat().st_mtime > code_time:
            source: Source = pickle.loads(self.opened.read_bytes())
            return source
        return self.scene.open()

    @property
    def name(self) -> str:
        """Unique in a set."""
        return f"{self.scene.name}/{self.number:06d}"

    def runs(self) -> Iterator[range]:
        """The frames as few ranges of constant stride, none of which spans shots."""
        for _, group in groupby(self.frames, key=lambda frame: shot_of(self.shots, frame)):
            numbers = list(group)
            while numbers:
                stride = numbers[1] - numbers[0] if len(numbers) > 1 else 1
                length = next(
                    (i for i, number in enumerate(numbers) if number != numbers[0] + i * stride), len(numbers)
                )
                yield range(numbers[0], numbers[length - 1] + 1, stride)
                numbers = numbers[length:]


def shot_of(shots: Sequence[int] | None, frame: int) -> int | None:
    """The first frame of the shot that a frame is in; None where there are no shots."""
    return None if shots is None else shots[bisect_right(shots, frame) - 1]


def survey_source(scene: Scene, source: Source) -> Survey:
    """Look at an opened source, for the shots of a film too.

    Raises:
        DataError: it can't be used.
    """
    try:
        files = source.files()
        stamps = tuple(_stamp(file) for file in files)
        digests = [sha256_of(file) for file in files]
    except OSError as error:
        raise DataError(f"{scene.path}: can't be read ({error.strerror or error})") from error
    listed = "".join(f"{digest}  {file.name}\n" for digest, file in zip(digests, files, strict=True))
    # Films offer their shots, and raw video counts as one; the frames of a folder or a .mat file stand for themselves.
    shots = source.shots() if hasattr(source, "shots") else (0,) if scene.is_raw else None
    return Survey(
        kind=type(source).__name__,
        digest=digests[0] if len(digests) == 1 else hashlib.sha256(listed.encode()).hexdigest(),
        stamps=stamps,
        frame_count=source.frame_count,
        size=source.size,
        panoramic=source.panoramic,
        shots=None if shots is None else tuple(shots),
    )


@dataclass(frozen=True)
class SurveyTask:
    """A source to survey.

    Attributes:
        scene: the source.
        folder: where to write what was found, ``SCENE.json``, and the opened source, ``SCENE.pickle``: opening reads a
            film from end to end, which each of its parts would do again. None for nowhere.
        keep_going: whether a failure is an answer.
    """

    scene: Scene
    folder: Path | None
    keep_going: bool


def run_survey(task: SurveyTask) -> Survey | str:
    """Survey a source; why it can't be used, if failures are answers.

    Raises:
        DataError: it can't be used, and failures aren't answers.
    """
    try:
        source = task.scene.open()
        survey = survey_source(task.scene, source)
    except DataError as error:
        if task.keep_going:
            return str(error)
        raise
    if task.folder is not None:
        # A record there is of another source of this name; it must not vouch for this one.
        (task.folder / f"{task.scene.name}.json").unlink(missing_ok=True)
        with replacing(task.folder / f"{task.scene.name}.pickle") as temporary:
            temporary.write_bytes(pickle.dumps(source))
        write_json(task.folder / f"{task.scene.name}.json", {"scene": repr(task.scene), **asdict(survey)})
    return survey


def read_survey(path: Path, scene: Scene) -> Survey | None:
    """What ``run_survey`` wrote; None if it was of a source by another path or reading."""
    content = json.loads(path.read_text(encoding="utf-8"))
    return Survey.parse(content) if content.pop("scene", None) == repr(scene) else None


Surveyed = tuple[str, Scene, Survey]
"""A source in the plan: its split, itself and what is known of it."""


def by_scene(sources: Sequence[Surveyed]) -> dict[str, Survey]:
    """Surveys by the names of scenes."""
    return {scene.name: survey for _, scene, survey in sources}


def plan_parts(sources: Sequence[Surveyed], recipe: Recipe, surveys: Path | None) -> list[Part]:
    """Share out the frames of all sources.

    Of a film the preset's strides choose frames, shot by shot, and validation and test take few of them, evenly spread.
    Of other sources every frame is used.

    Args:
        sources: in the order of the set.
        recipe: what the samples follow from.
        surveys: the folder of ``SurveyTask``.
    """
    parts: list[Part] = []
    for split, scene, survey in sources:
        if survey.shots is None:
            frames = list(range(survey.frame_count))
        else:
            frames = frame_numbers(recipe.sampling, recipe.seed, scene.name, survey.frame_count, survey.shots)
            if split != "train":
                frames = _spread(frames, recipe.val_frames)
        each = max(1, _PART_BYTES // (samples_of_frame(split, survey, recipe) * sample_bytes(split, survey, recipe)))
        opened = None if surveys is None else surveys / f"{scene.name}.pickle"
        parts.extend(
            Part(number, scene, split, recipe, tuple(frames[start : start + each]), survey.shots, opened)
            for number, start in enumerate(range(0, len(frames), each))
        )
    return parts


def _spread(frames: Sequence[int], most: int) -> list[int]:
    """At most so many of the frames, each from the middle of an equal share of them."""
    count = min(most, len(frames))
    return [frames[(2 * i + 1) * len(frames) // (2 * count)] for i in range(count)]


def samples_of_frame(split: str, survey: Survey, recipe: Recipe) -> int:
    """Samples that a frame gives, the mean where their number is drawn."""
    if split != "train":
        return 4 if survey.panoramic else 1
    sampling = recipe.sampling
    if survey.panoramic:
        return sampling.patches_per_panorama
    return min(round(sum(sampling.patches_per_frame) / 2), _places(survey.size))


def patches_of_frame(part: Part, number: int, size: tuple[int, int], panoramic: bool) -> int:
    """Training patches that are cut from a frame: the preset's number, but never more than there are places for one."""
    sampling = part.recipe.sampling
    if panoramic:
        return sampling.patches_per_panorama
    return min(patch_count(sampling, part.recipe.seed, part.scene.name, number), _places(size))


def _places(size: tuple[int, int]) -> int:
    """Where in a flat frame a patch may lie; 1 of a frame that is too small, which is refused when it is read."""
    rows, columns = (max(side - PATCH_SIZE, 0) // GRID + 1 for side in size)
    return rows * columns


def sample_bytes(split: str, survey: Survey, recipe: Recipe) -> int:
    """About what a sample takes in a shard."""
    height, width = survey.size
    pixels = PATCH_SIZE**2 if split == "train" else height * width // (8 if survey.panoramic else 1)
    return _OVERHEAD_BYTES + 6 * pixels + 3 * pixels // recipe.scale**2


@dataclass(frozen=True)
class Estimate:
    """What making a set will take.

    Attributes:
        samples: by split.
        set_bytes: of the shards.
        peak_bytes: on the disk while they are made: scratch, and the shards dealt from it.
        seconds: of making the samples.
    """

    samples: dict[str, int]
    set_bytes: int
    peak_bytes: int
    seconds: float

    def __str__(self) -> str:
        samples = ", ".join(f"{count} {split}" for split, count in self.samples.items() if count)
        return (
            f"about {samples} samples, {file_size(self.set_bytes)} ({file_size(self.peak_bytes)} while they are made), "
            f"{duration(self.seconds)}"
        )


def estimate(parts: Sequence[Part], surveys: Mapping[str, Survey], seconds: float) -> Estimate:
    """Add up what parts will give.

    Args:
        parts: of the whole set.
        surveys: by the names of scenes.
        seconds: that making their samples takes.
    """
    samples, split_bytes = dict.fromkeys(SPLITS, 0), dict.fromkeys(SPLITS, 0)
    for part in parts:
        survey = surveys[part.scene.name]
        count = len(part.frames) * samples_of_frame(part.split, survey, part.recipe)
        samples[part.split] += count
        split_bytes[part.split] += count * sample_bytes(part.split, survey, part.recipe)
    total = sum(split_bytes.values())
    # Scratch of all splits lies there at first; that of a split goes when its shards are written.
    return Estimate(samples, total, total + max(split_bytes.values()), seconds)


def _stamp(path: Path) -> tuple[str, int, int]:
    status = path.stat()
    return str(path), status.st_size, status.st_mtime_ns
