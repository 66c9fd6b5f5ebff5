"""SDR clips without a truth: models side by side, in stills and in the figures of ``zoo.evaluation.conditions``."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from datamodules.grading import given_code_units, reduce_sdr
from datamodules.progress import Progress, counted
from datamodules.sources import scene_name
from datamodules.sources.decoding import decode_planes
from datamodules.sources.shots import shot_starts
from datamodules.sources.tagged_signal import chroma_siting, sdr_signal
from datamodules.sources.video import video_picture
from datamodules.sources.video_file import open_video
from zoo.color import luma
from zoo.errors import ConfigError, DataError
from zoo.evaluation.conditions import (
    GREYS,
    Flicker,
    above_black,
    code_shares,
    gamut_shares,
    grey_chart,
    grey_light,
    grey_shift,
    white_light,
)
from zoo.evaluation.models import EvaluatedModel, load_model
from zoo.evaluation.pictures import remove_pictures, side_by_side
from zoo.evaluation.provenance import code_digest, device_name, packages
from zoo.evaluation.report import Request, requested_models, resolve_device
from zoo.evaluation.running import PRECISIONS, Scorer
from zoo.evaluation.tables import finite, precision_text, table
from zoo.files import sha256_of
from zoo.metrics import Suite
from zoo.pictures import write_png
from zoo.runs import git_commit
from zoo.signal import SDR_VIDEO, Signal

_STILLS = 3  # of each clip
_DEFAULT_SCALE = 2


@dataclass(frozen=True)
class _Figure:
    """What a column holds."""

    title: str
    digits: int
    meaning: str


FIGURES: Mapping[str, _Figure] = {
    "flicker": _Figure(
        "flicker", 2, "change of the mean Y' from frame to frame beyond what the input's levels explain, 10-bit codes"
    ),
    "input_change": _Figure("input's", 2, "the change that they explain, by the model's own mean curve; 10-bit codes"),
    "still_flicker": _Figure(
        "still", 2, "change from frame to frame of pixels around which the input repeats exactly, 10-bit codes"
    ),
    "still_share": _Figure("still %", 1, "share of such pixels"),
    "clipped": _Figure("clipped %", 3, "share of codes that round to 0 or less, 1023 or more"),
    "outside_narrow": _Figure("not narrow %", 3, "share of codes outside 64..940 (Y') or 64..960 (Cb, Cr)"),
    "outside_709": _Figure("beyond 709 %", 2, "share of pixels outside BT.709 (by 1 %) and inside BT.2020"),
    "outside_2020": _Figure("beyond 2020 %", 2, "share of pixels outside BT.2020, by a code"),
    "white": _Figure("white", 1, "mean luminance where the clip's luma is 235 or more, cd/m²"),
}
"""Of each clip, in the order of the table."""

_IN_PER_CENT = ("still_share", "clipped", "outside_narrow", "outside_709", "outside_2020")


class SDRClip:
    """An SDR video file as LR frames on the signal of the networks' input; nothing is held open.

    Codes are those of the file, of ``SDR_VIDEO`` unchanged but for chroma, which is brought to 4:4:4 and rounded.

    Args:
        path: any container and codec that FFmpeg reads.
        signal: what the codes mean, needed where the file's tags don't say it all.

    Attributes:
        name: of the file, without its ending.
        size: height and width.
        frame_count: how many there should be.

    Raises:
        DataError: the file can't be used, is HDR, or doesn't say what it is.
    """

    def __init__(self, path: Path, signal: Signal | None = None) -> None:
        self._video = open_video(path)
        self.path = path
        self.name = scene_name(path)
        self.signal = sdr_signal(self._video, signal)
        self.size = self._video.size
        self.frame_count = self._video.frame_count
        self._siting = chroma_siting(None, self.signal)

    def frames(self, numbers: range) -> Iterator[tuple[int, Tensor | DataError]]:
        """Frames in a row, each ``(3, h, w)`` float32, code / 255, or why it can't be had; what comes after goes on."""
        first = numbers.start
        while first < numbers.stop:
            try:
                for planes in decode_planes(self._video, range(first, numbers.stop)):
                    picture = video_picture(self._video, planes, self.signal, self._siting)
                    codes = reduce_sdr(given_code_units(picture.values, self.signal), 1)
                    first = planes.number + 1
                    yield planes.number, codes.float() / SDR_VIDEO.peak
            except DataError as error:
                # A damaged frame ends the decoder; a new one goes on behind it.
                yield first, error
                if first >= len(self._video.pts):  # the file ends here
                    return
                first += 1

    def shots(self) -> tuple[int, ...]:
        """Numbers of the first frames of shots, 0 the first."""
        return shot_starts(self._video)


@dataclass(frozen=True)
class GreyChart:
    """What a model makes of the chart of greys.

    Attributes:
        luminance: of each of ``conditions.GREYS``, cd/m².
        shift: delta E ITP of each to neutral.
    """

    luminance: list[float]
    shift: list[float]


@dataclass(frozen=True)
class ClipReport:
    """What came of it.

    Attributes:
        request: what was asked for.
        scale: HR over LR size.
        models: in the order of the request.
        clips: in its order too.
        taken: numbers of the frames that were looked at, by clip.
        figures: by clip, then model, then the keys of ``FIGURES``; None where a figure can't be told.
        charts: by model.
        failures: frames that are left out: clip and number, and why.
        stills: files.
    """

    request: Request
    scale: int
    models: list[EvaluatedModel]
    clips: list[SDRClip]
    taken: dict[str, range]
    figures: dict[str, dict[str, dict[str, float | None]]]
    charts: dict[str, GreyChart]
    failures: list[tuple[str, str]]
    stills: list[Path]


def describe_clips(request: Request) -> ClipReport:
    """Send SDR clips through models, and describe what comes out.

    Args:
        request: its ``data`` are SDR video files and its ``reading.sdr_signal`` is theirs where they carry no tags;
            ``limit`` takes so many frames in a row from the middle of each; ``splits`` and ``metrics`` don't count.

    Raises:
        ConfigError: what is asked for contradicts itself, or can't be had here.
        DataError: a file that can't be used as SDR video, or of which no frame can.
        WeightsError, UnknownModelError, SignalError: as ``evaluate``.
    """
    if request.devices != 1:
        raise ConfigError("--clips go through one process, since frames follow on each other; leave --devices out")
    if request.limit is not None and request.limit < 1:
        raise ConfigError("--limit is at least 1")
    requests, scale = requested_models(request)
    scale = scale or _DEFAULT_SCALE
    clips = [SDRClip(Path(path), request.reading.sdr_signal) for path in request.data]
    names = [clip.name for clip in clips]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ConfigError(f"clip {twice} is there twice; name each once")
    device = resolve_device(request.device)
    dtype = PRECISIONS[request.precision][0]
    models = [load_model(model, scale, device, dtype) for model in requests]
    scorer = Scorer(Suite(()), device, request.precision)
    remove_pictures(request.output / "stills")
    report = ClipReport(request, scale, models, clips, {}, {}, {}, [], [])
    for model in models:
        light = grey_light(scorer.predict(model, grey_chart())[0].cpu())
        luminance = luma(light[:, None], "ycbcr2020")[0, 0]
        report.charts[model.label] = GreyChart(luminance.tolist(), grey_shift(light).tolist())
    for clip in clips:
        _describe(clip, report, scorer)
    return report


def _describe(clip: SDRClip, report: ClipReport, scorer: Scorer) -> None:
    numbers = _taken(clip, report.request.limit)
    shots = set(clip.shots())
    totals = {model.label: _Totals() for model in report.models}
    shown = {numbers[(2 * i + 1) * len(numbers) // (2 * _STILLS)] for i in range(_STILLS)}
    progress = Progress(f"frames of {clip.name}", len(numbers), 0, len(numbers))
    for number, sdr in clip.frames(numbers):
        if number in shots or isinstance(sdr, DataError):
            for total in totals.values():
                total.flicker.cut()
        if isinstance(sdr, DataError):
            report.failures.append((f"{clip.name}, frame {number}", " ".join(str(sdr).split())))
            continue
        predictions: dict[str, Tensor] = {}
        for model in report.models:
            preds = scorer.predict(model, sdr)[0].cpu()
            if not preds.isfinite().all():
                totals[model.label].flicker.cut()
                report.failures.append((f"{clip.name}, frame {number}", f"{model.label} gives NaN or infinity"))
                continue
            totals[model.label].add(sdr, preds)
            if number in shown:
                predictions[model.label] = preds
        if predictions:
            path = report.request.output / "stills" / f"{clip.name}-{number:05d}.png"
            write_png(path, side_by_side(sdr, predictions))
            report.stills.append(path)
        progress.advance(1, f"{clip.name} {number}")
    if not any(total.frames for total in totals.values()):
        raise DataError(f"{clip.path}: none of its frames could be used: {report.failures[-1][1]}")
    report.taken[clip.name] = numbers
    report.figures[clip.name] = {label: total.figures() for label, total in totals.items()}


def _taken(clip: SDRClip, limit: int | None) -> range:
    count = min(limit or clip.frame_count, clip.frame_count)
    first = (clip.frame_count - count) // 2
    return range(first, first + count)


@dataclass
class _Totals:
    """Figures of one model on one clip, gathered."""

    frames: int = 0
    shares: dict[str, float] = field(default_factory=dict)
    white: float = 0.0
    white_pixels: int = 0
    flicker: Flicker = field(default_factory=Flicker)

    def add(self, sdr: Tensor, preds: Tensor) -> None:
        self.frames += 1
        for name, share in (code_shares(preds)._asdict() | gamut_shares(preds)._asdict()).items():
            self.shares[name] = self.shares.get(name, 0.0) + share
        white, pixels = white_light(sdr, preds)
        self.white += white
        self.white_pixels += pixels
        self.flicker.update(sdr, preds)

    def figures(self) -> dict[str, float | None]:
        flicker = self.flicker.compute()
        known = {
            "flicker": flicker.excess,
            "input_change": flicker.input,
            "still_flicker": flicker.still,
            "still_share": flicker.still_share,
            "white": self.white / self.white_pixels if self.white_pixels else None,
            **{name: share / self.frames for name, share in self.shares.items()},
        }
        return {name: known.get(name) for name in FIGURES}


def clips_text(report: ClipReport) -> str:
    """The tables as Markdown, with what the figures mean in their head."""
    lines = [f"# {counted(len(report.clips), 'clip')} of SDR without a truth, x{report.scale}", ""]
    for clip in report.clips:
        numbers, (height, width) = report.taken[clip.name], clip.size
        frames = f"frames {numbers.start} to {numbers.stop - 1} of {clip.frame_count}"
        lines.append(f"- `{clip.name}`: {width}x{height}, {clip.signal}, {frames}, SHA-256 {sha256_of(clip.path)}")
    lines.append(f"- networks: {precision_text(report.request.precision)}")
    lines += [f"- {figure.title}: {figure.meaning}" for figure in FIGURES.values()]
    header = ["clip", "model", *(figure.title for figure in FIGURES.values())]
    rows = [
        [clip, label, *(_cell(name, value) for name, value in figures.items())]
        for clip, by_model in report.figures.items()
        for label, figures in by_model.items()
    ]
    lines += ["", "## Clips", "", table(header, rows), "", "## Greys", ""]
    lines.append(
        "What a chart of greys becomes: luminance in cd/m² by the 8-bit luma code (235 is white), and how far those "
        "above black are from neutral, delta E ITP (1 is just noticeable)."
    )
    header = ["model", *map(str, GREYS), "shift, mean", "largest"]
    rows = [
        [
            label,
            *(f"{round(value, 4):.4g}" for value in chart.luminance),
            *(f"{value:.2f}" for value in _mean_and_most(chart)),
        ]
        for label, chart in report.charts.items()
    ]
    lines += ["", table(header, rows)]
    if report.failures:
        lines += ["", f"## Left out: {len(report.failures)}", ""]
        lines += [f"- {where}: {reason}" for where, reason in report.failures]
    return "\n".join(lines) + "\n"


def _mean_and_most(chart: GreyChart) -> tuple[float, float]:
    shifts = above_black(chart.shift)
    return sum(shifts) / len(shifts), max(shifts)


def _cell(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value * (100 if name in _IN_PER_CENT else 1):.{FIGURES[name].digits}f}"


def clips_csv(report: ClipReport) -> str:
    """A line for each clip and model, figures in full; shares of 1."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["clip", "model", *FIGURES, "chart_white", "chart_shift_mean", "chart_shift_largest"])
    for clip, by_model in report.figures.items():
        for label, figures in by_model.items():
            chart = report.charts[label]
            values = [*figures.values(), chart.luminance[-1], *_mean_and_most(chart)]
            writer.writerow([clip, label, *("" if value is None else repr(value) for value in values)])
    return stream.getvalue()


def clips_json(report: ClipReport, command: str) -> dict[str, Any]:
    """All of it; shares of 1, null where a figure can't be told, and words for numbers that aren't finite."""
    content = {
        "command": command,
        "commit": git_commit(),
        "code": code_digest(),
        "packages": packages(),
        "device": device_name(resolve_device(report.request.device)),
        "precision": report.request.precision,
        "scale": report.scale,
        "figures": {name: figure.meaning for name, figure in FIGURES.items()},
        "clips": {clip.name: _clip_content(clip, report) for clip in report.clips},
        "models": {
            model.label: {
                "name": model.name,
                "sha256": model.sha256,
                "parameters": model.parameters,
                "greys": dict(zip(map(str, GREYS), report.charts[model.label].luminance, strict=True)),
                "grey_shift": dict(zip(map(str, GREYS), report.charts[model.label].shift, strict=True)),
            }
            for model in report.models
        },
        "failures": [{"frame": where, "error": reason} for where, reason in report.failures],
        "pictures": [str(path.relative_to(report.request.output)) for path in report.stills],
    }
    return {key: finite(value) for key, value in content.items()}


def _clip_content(clip: SDRClip, report: ClipReport) -> dict[str, Any]:
    numbers = report.taken[clip.name]
    return {
        "file": clip.path.name,
        "sha256": sha256_of(clip.path),
        "size": list(clip.size),
        "signal": str(clip.signal),
        "frames": [numbers.start, numbers.stop],
        "figures": report.figures[clip.name],
    }
