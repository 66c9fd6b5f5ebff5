"""The same scores over SDR that was made in other ways: tone curves, and qualities of a codec (docs/realistic.md)."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from datamodules.degrade import VideoCodec
from datamodules.presets import Preset
from zoo.color import SDR_CURVES
from zoo.errors import DataError
from zoo.evaluation.models import load_model, parse_model
from zoo.evaluation.pictures import remove_pictures, side_by_side
from zoo.evaluation.report import Evaluation, Request, evaluate, resolve_device
from zoo.evaluation.running import PRECISIONS, Scorer
from zoo.evaluation.sets import VAL_V1, spread
from zoo.evaluation.tables import digits_of, json_content, table
from zoo.metrics import Suite
from zoo.pictures import write_png

CODEC_QUALITIES = (18, 23, 28, 35, 42)
"""Constant rate factors of x264: hardly visible loss to heavy blocks."""

ROBUSTNESS_METRICS = ("psnr", "psnr_matched")
"""Those that are tabled unless others are asked for."""

_FIXED_CURVE = next(iter(VAL_V1.curves))


@dataclass(frozen=True)
class Robustness:
    """Evaluations of the same models on the same frames under several conditions.

    Attributes:
        output: folder of the results.
        evaluations: by condition; the first is ``val-v1``'s own.
        pictures: input, predictions and truth of one frame under each condition.
    """

    output: Path
    evaluations: dict[str, Evaluation]
    pictures: list[Path]


def conditions(styles: bool, codec: bool) -> dict[str, Preset]:
    """Presets by the names that the tables have for them, ``val-v1``'s curve without a codec first.

    Args:
        styles: every curve of ``zoo.color.SDR_CURVES``.
        codec: every quality of ``CODEC_QUALITIES``, each frame encoded by itself, with the curve of ``val-v1``.
    """
    presets = {_FIXED_CURVE: VAL_V1}
    if styles:
        others = (curve for curve in SDR_CURVES if curve != _FIXED_CURVE)
        presets |= {curve: _varied(f"curve {curve}", curves={curve: 1.0}) for curve in others}
    if codec:
        for crf in CODEC_QUALITIES:
            stage = ((VideoCodec("h264", crf=(crf, crf)), 1.0),)
            presets[f"crf {crf}"] = _varied(f"h264 crf {crf}", degradations=(stage,))
    return presets


def _varied(what: str, **changed: Any) -> Preset:
    return replace(VAL_V1, name=f"{VAL_V1.name}, {what}", summary=f"{VAL_V1.name} but for {what}", **changed)


def evaluate_conditions(request: Request, styles: bool, codec: bool) -> Robustness | None:
    """Score the models under every condition; each is an evaluation of its own in ``output/CONDITION``.

    Args:
        request: its data are sources of HDR alone, of which the SDR side is made anew for each condition.
        styles: as in ``conditions``.
        codec: as in ``conditions``.

    Returns:
        The evaluations and pictures; None in a launcher's other processes.

    Raises:
        ConfigError: data that bring their own SDR.
        ZooError: as ``evaluate``.
    """
    evaluations = {}
    for name, preset in conditions(styles, codec).items():
        evaluation = evaluate(replace(request, pairing=preset, output=request.output / _file_name(name)))
        if evaluation is not None:
            evaluations[name] = evaluation
    return Robustness(request.output, evaluations, _draw(evaluations, request)) if evaluations else None


def _draw(evaluations: Mapping[str, Evaluation], request: Request) -> list[Path]:
    """The frame in the middle of the set under each condition."""
    device = resolve_device(request.device)
    dtype = PRECISIONS[request.precision][0]
    first = next(iter(evaluations.values()))
    models = [load_model(parse_model(model.label), first.scale, device, dtype) for model in first.models]
    scorer = Scorer(Suite(()), device, request.precision)
    remove_pictures(request.output / "stills")
    paths = []
    for name, evaluation in evaluations.items():
        _, found = next(iter(evaluation.frames.read(spread(evaluation.frames.items, 1))))
        if isinstance(found, DataError):  # the table names it
            continue
        frame = found[0]
        predictions = {model.label: scorer.predict(model, frame.sdr)[0].cpu() for model in models}
        paths.append(request.output / "stills" / f"{_file_name(name)}.png")
        write_png(paths[-1], side_by_side(frame.sdr, predictions, frame.hdr))
    return paths


def _file_name(condition: str) -> str:
    return re.sub(r"\W+", "-", condition)


def robustness_text(result: Robustness) -> str:
    """A table for each metric, models by conditions, as Markdown."""
    first = next(iter(result.evaluations.values()))
    taken, held = first.items
    lines = [
        f"# {first.set_name}, x{first.scale}, under {len(result.evaluations)} conditions",
        "",
        f"- data: {taken} of {held} items; the truth is the same throughout, the SDR side is made anew for each",
        f"- a curve's name: clean 8-bit SDR by that curve; `{_FIXED_CURVE}` is protocol {VAL_V1.name}",
        f"- `crf N`: SDR by `{_FIXED_CURVE}`, each LR frame by itself through H.264 4:2:0 (x264) of that quality",
        "- mean over frames; spread is the best condition less the worst",
    ]
    lines += [f"- `{name}`: {first.protocols[name]}" for name in first.request.metrics]
    for metric in first.request.metrics:
        lines += ["", f"## {metric}", "", table(*_grid(result, metric))]
    return "\n".join(lines) + "\n"


def _grid(result: Robustness, metric: str) -> tuple[list[str], list[list[str]]]:
    first = next(iter(result.evaluations.values()))
    digits, higher = digits_of(first, metric), metric in first.better_high
    rows = []
    for index, model in enumerate(first.models):
        means = [evaluation.models[index].means.get(metric) for evaluation in result.evaluations.values()]
        known = [estimate.mean for estimate in means if estimate is not None]
        worst, spread_of = "-", "-"
        if known:
            worst = f"{min(known) if higher else max(known):.{digits}f}"
            spread_of = f"{max(known) - min(known):.{digits}f}"
        cells = ["-" if estimate is None else f"{estimate.mean:.{digits}f}" for estimate in means]
        rows.append([model.label, *cells, worst, spread_of])
    return ["model", *result.evaluations, "worst", "spread"], rows


def robustness_csv(result: Robustness) -> str:
    """A line for each model and condition, means in full."""
    metrics = next(iter(result.evaluations.values())).request.metrics
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["model", "condition", "frames", *metrics])
    for condition, evaluation in result.evaluations.items():
        for model in evaluation.models:
            means = [repr(model.means[name].mean) if name in model.means else "" for name in metrics]
            writer.writerow([model.label, condition, len(model.rows), *means])
    return stream.getvalue()


def robustness_json(result: Robustness, command: str) -> dict[str, Any]:
    """All of it: of each condition what ``scores.json`` holds."""
    return {
        "command": command,
        "conditions": {name: json_content(evaluation, command) for name, evaluation in result.evaluations.items()},
        "pictures": [str(path.relative_to(result.output)) for path in result.pictures],
    }
