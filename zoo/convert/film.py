"""A video file to a video file."""

from __future__ import annotations

import functools
import logging
import os
import tempfile
import time
from dataclasses import asdict, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch

from datamodules.executors import InlineExecutor, open_workers
from zoo.convert.bars import Bars, find_bars
from zoo.convert.checking import Checked, check_file
from zoo.convert.encoding import Geometry, encode
from zoo.convert.formats import FEWEST_FRAMES, VideoFormat, check_aspect, check_size, video_format
from zoo.convert.joining import Clip, Companions, find_companions, join
from zoo.convert.light import LightLevels
from zoo.convert.looks import looks
from zoo.convert.parts import Film, Model, Part, Task, cut, finished, make_part, open_converter
from zoo.convert.reading import display_rotation, open_sdr_video
from zoo.convert.request import Listener, Progress, Report, Request, bytes_text, size_text
from zoo.convert.work import PartsFolder
from zoo.errors import ConfigError, DataError
from zoo.files import UNFINISHED

logger = logging.getLogger(__name__)

_TRIAL_SIZE = (128, 128)


def convert_film(request: Request, model: Model, listener: Listener | None = None) -> Report:
    """Convert a video file; see ``zoo.convert.job.convert``, which has looked at the output's place."""
    start = time.monotonic()
    video_format(request.output, request.codec, request.transfer, request.options)  # what is wrong is said first
    source = open_sdr_video(request.source, request.signal)
    video = source.video
    height, width = source.size
    size = (model.scale * height, model.scale * width)
    numbers = source.span(request.span)
    form = video_format(request.output, request.codec, request.transfer, request.options, len(numbers))
    check_size(form, size, request.output)
    check_aspect(form, video.sample_aspect, request.output)
    companions = find_companions(request.source, form.container)
    converter = open_converter(model, model.devices[0])  # what is wrong with it is said before any work
    bars = find_bars(source, numbers)
    origin = int(video.pts[numbers.start]) if request.span is not None else 0
    film = Film(
        source=source,
        model=model,
        video_format=form,
        geometry=Geometry(size, video.sample_aspect, video.time_base, _rate(video.seconds)),
        bars=bars,
        origin=origin,
    )
    if request.options:
        _try_options(request, film, numbers)
    for note in source.notes:
        logger.info("%s", note)
    folder = PartsFolder(request.output, ".yuv" if form.codec == "raw" else ".mp4")
    parts = cut(numbers, video.keys, request.part_frames)
    tasks = [Task(film, number, frames, folder.part(number)) for number, frames in enumerate(parts)]
    with folder.held(_facts(request, film, parts)):
        made, resumed = _make(tasks, request, listener)
        levels = _levels(made)
        stated = levels.message if levels is not None else None
        temporary = folder.path / f".joined{UNFINISHED}"
        joined = join(
            [task.path for task in tasks],
            temporary,
            form,
            stated,
            request.source,
            companions,
            _clip(film, numbers, request),
            display_rotation(video) if video.rotation else 0,
            film.geometry,
        )
        checked = check_file(temporary, form, film.geometry, film.times(numbers), stated, companions, joined)
        os.replace(temporary, request.output)
        folder.remove()
    figures = looks(converter.pipeline.net, [part.looks for part in made])
    return Report(
        source=str(request.source),
        read=f"{size_text(source.size)}, {source.signal}, {len(numbers)} of {len(video.pts)} frames",
        model=f"{model.text}, x{model.scale}, {', '.join(model.devices)}",
        output=str(request.output),
        written=_written(form, size, checked),
        frames=len(numbers),
        resumed=resumed,
        seconds=time.monotonic() - start,
        levels=stated,
        looks=asdict(figures),
        notes=[*source.notes, *_notes(companions, joined.chapters, bars, form)],
        warnings=figures.warnings(),
    )


def _try_options(request: Request, film: Film, numbers: range) -> None:
    """Write a few small grey frames with the user's options: most that can't work would show after the last part."""
    form, geometry = film.video_format, replace(film.geometry, size=_TRIAL_SIZE)
    height, width = _TRIAL_SIZE
    luma = np.full(_TRIAL_SIZE, 512, np.uint16)
    chroma = luma if form.layout == "444" else luma[: height // 2, : width // 2]
    times = film.times(numbers[:FEWEST_FRAMES])
    nothing = Companions()
    stated = (1000, 100) if form.has_light_levels else None
    with tempfile.TemporaryDirectory() as folder:
        part, joined = Path(folder) / "part", Path(folder) / "joined"
        try:
            encode(part, [(shown, (luma, chroma, chroma)) for shown in times], form, geometry)
            done = join([part], joined, form, stated, request.source, nothing, Clip(), 0, geometry)
            check_file(joined, form, geometry, times, stated, nothing, done)
        except (DataError, OverflowError, ValueError, av.FFmpegError) as error:
            given = ", ".join(f"{key}={value}" for key, value in request.options.items())
            reason = getattr(error, "strerror", None) or str(error).replace(f"{joined}: ", "")
            raise ConfigError(f"--encoder {given}: a trial with a few frames fails ({reason})") from error


def _make(tasks: list[Task], request: Request, listener: Listener | None) -> tuple[list[Part], int]:
    """All parts, and how many frames there were before."""
    made = {task.number: part for task in tasks if (part := finished(task.path)) is not None}
    resumed = sum(part.frames for part in made.values())
    left = [task for task in tasks if task.number not in made]
    total = sum(len(task.numbers) for task in tasks)
    begun, done = time.monotonic(), resumed
    current = left[0].number if left else 0

    def told(count: int) -> None:
        nonlocal done
        done += count
        if listener is not None:
            rate = (done - resumed) / max(time.monotonic() - begun, 1e-9)
            listener(Progress(done, total, current + 1, len(tasks), rate))

    if resumed:
        logger.info("%d of %d frames were finished before", resumed, total)
    with open_workers(request.workers, request.dask) as workers:
        inline = isinstance(workers.executor, InlineExecutor)

        def started() -> Any:
            nonlocal current
            for task in left:
                current = task.number
                yield task

        function = functools.partial(make_part, report=told) if inline else make_part
        for task, part in workers.run(function, started()):
            made[task.number] = part
            if not inline:
                told(part.frames)
    return [made[task.number] for task in tasks], resumed


def _facts(request: Request, film: Film, parts: list[range]) -> dict[str, Any]:
    """All that the parts follow from."""
    state = request.source.stat()
    return {
        "input": [str(request.source.absolute()), state.st_size, state.st_mtime_ns],
        "signal": str(film.source.signal),
        "model": [film.model.text, film.model.scale, open_converter(film.model, film.model.devices[0]).sha256],
        "precision": film.model.precision,
        "output signal": str(film.video_format.signal),
        "encoder": [film.video_format.encoder, *map(list, film.video_format.options)],
        "library": [av.__version__, torch.__version__.partition("+")[0]],
        "bars": list(film.bars),
        "parts": [[part.start, part.stop] for part in parts],
        "origin": film.origin,
    }


def _levels(parts: list[Part]) -> LightLevels | None:
    measured = [LightLevels(*part.levels) for part in parts if part.levels is not None]
    return functools.reduce(LightLevels.__or__, measured) if measured else None


def _clip(film: Film, numbers: range, request: Request) -> Clip:
    if request.span is None:
        return Clip()
    video = film.source.video
    last = numbers.stop - 1
    follower = video.pts[numbers.stop] if numbers.stop < len(video.pts) else None
    step = int(follower) - int(video.pts[last]) if follower is not None else 0
    stop = None if follower is None else (int(video.pts[last]) + step) * video.time_base
    return Clip(int(video.pts[numbers.start]) * video.time_base, stop)


def _rate(seconds: Any) -> Fraction:
    """Frames a second on the average."""
    if len(seconds) < 2:
        return Fraction(25)
    return Fraction((len(seconds) - 1) / float(seconds[-1] - seconds[0])).limit_denominator(1001)


def _written(form: VideoFormat, size: tuple[int, int], checked: Checked) -> str:
    names = {"hevc": "HEVC Main 10", "av1": "AV1 10 bit", "ffv1": "FFV1 10 bit", "raw": "yuv420p10"}
    kind = {"pq": "HDR10" if form.codec in ("hevc", "av1") else "PQ", "hlg": "HLG"}[form.signal.transfer]
    return f"{size_text(size)}, {names[form.codec]}, {kind}, {checked.frames} frames, {bytes_text(checked.bytes)}"


def _notes(companions: Companions, chapters: int, bars: Bars, form: VideoFormat) -> list[str]:
    lines = list(companions.left_out)
    if companions.streams or chapters:
        lines.append(f"copied: {len(companions.streams)} streams of sound and subtitles, {chapters} chapters")
    if any(bars):
        lines.append("bars are written black: {} rows above, {} below, {} columns left, {} right".format(*bars))
    if form.codec == "raw":
        lines.append(
            f"raw planes carry no tags: {form.signal}, 4:2:0 top left, 16-bit little endian, no times, no sound"
        )
    return lines


def check_output(output: Path, overwrite: bool) -> None:
    """Refuse a place that can't be written to, before any work.

    Raises:
        ConfigError: the folder isn't there, or the output is, and isn't to be replaced.
    """
    if not output.absolute().parent.is_dir():
        raise ConfigError(f"{output}: the folder {output.parent} isn't there; make it first")
    if output.is_dir():
        raise ConfigError(f"{output}: is a folder; name a file, such as {output / 'film.mp4'}")
    if output.exists() and not overwrite:
        raise ConfigError(f"{output}: is there already; --overwrite replaces it, or name another")
    if not os.access(output.absolute().parent, os.W_OK):
        raise ConfigError(f"{output}: the folder {output.parent} can't be written to; name another")
