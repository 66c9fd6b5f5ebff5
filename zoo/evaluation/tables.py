"""An evaluation as Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from typing import Any

from datamodules.progress import counted, file_size
from zoo.evaluation.provenance import code_digest, packages
from zoo.evaluation.report import Evaluation, ModelResult
from zoo.evaluation.running import PRECISIONS, Precision
from zoo.evaluation.statistics import Estimate
from zoo.runs import git_commit

FORMAT_VERSION = 1
"""Of ``scores.json``."""

_FRAMES_SHOWN = 200  # rows of the frames' table; a larger one is left to scores.csv


def markdown(evaluation: Evaluation) -> str:
    """The tables, with the protocol in their head; padded, so that they read well on a terminal too.

    What ``Cost`` says depends on the machine; the rest is the same wherever and in however many processes it was made.
    """
    parts = [_head(evaluation), _scores(evaluation), _differences(evaluation), _cost(evaluation), _frames(evaluation)]
    parts.append(_failures(evaluation))
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(evaluation: Evaluation) -> str:
    taken, held = evaluation.items
    some = "" if taken == held else f" ({taken} of {held} taken, spread evenly)"
    lines = [
        f"# {evaluation.set_name}, x{evaluation.scale}",
        "",
        f"- data: {counted(held, 'item')}{some}, SHA-256 {evaluation.digest}",
        f"- input: {evaluation.facts['input']}",
        f"- networks: {precision_text(evaluation.request.precision)}",
    ]
    lines += [f"- `{name}`: {protocol}" for name, protocol in evaluation.protocols.items()]
    return "\n".join(lines)


def precision_text(precision: Precision) -> str:
    """``float32``, ``float32 with autocast to bfloat16``."""
    dtype, cast = (str(kind).removeprefix("torch.") for kind in PRECISIONS[precision])
    return dtype if cast == "None" else f"{dtype} with autocast to {cast}"


def _scores(evaluation: Evaluation) -> str:
    header = ["model", "frames", *(_titled(evaluation, name) for name in evaluation.request.metrics)]
    rows = []
    for model in evaluation.models:
        cells = [estimate_text(evaluation, name, model.means.get(name)) for name in evaluation.request.metrics]
        rows.append([model.label, str(len(model.rows)), *cells])
    scenes = {row.scene for model in evaluation.models for row in model.rows}
    note = "Mean ± standard deviation of the frames, with the 95 % interval of the mean (bootstrap over "
    return f"## Scores\n\n{note}{counted(len(scenes), 'scene')}).\n\n{table(header, rows)}"


def estimate_text(evaluation: Evaluation, metric: str, estimate: Estimate | None) -> str:
    """``36.54 ± 3.01 [34.90, 38.20]``."""
    if estimate is None:
        return "-"
    digits = digits_of(evaluation, metric)
    text = f"{estimate.mean:.{digits}f}"
    if math.isfinite(estimate.std):
        text += f" ± {estimate.std:.{digits}f}"
    return text + _interval(estimate, digits)


def _interval(estimate: Estimate, digits: int, sign: str = "") -> str:
    if estimate.low is None or estimate.high is None:
        return ""
    return f" [{estimate.low:{sign}.{digits}f}, {estimate.high:{sign}.{digits}f}]"


def digits_of(evaluation: Evaluation, metric: str) -> int:
    """Decimals of a metric's figures."""
    return 4 if evaluation.protocols[metric].unit == "1" else 2


def _titled(evaluation: Evaluation, metric: str) -> str:
    unit = evaluation.protocols[metric].unit
    arrow = "" if metric in evaluation.better_high else " (low is good)"
    return f"{metric}, {unit}{arrow}" if unit in ("dB", "JOD") else f"{metric}{arrow}"


def _differences(evaluation: Evaluation) -> str:
    reference, *others = evaluation.models
    if not others:
        return ""
    header = ["model", *evaluation.request.metrics]
    rows = []
    for model in others:
        differences = model.differences(reference)
        cells = []
        for name in evaluation.request.metrics:
            estimate, digits = differences.get(name), digits_of(evaluation, name)
            if estimate is None:
                cells.append("-")
                continue
            better = sum(_is_better(evaluation, name, *pair) for pair in _pairs(model, reference, name))
            text = f"{estimate.mean:+.{digits}f}{_interval(estimate, digits, '+')}"
            cells.append(f"{text}, better in {better} of {estimate.frames}")
        rows.append([model.label, *cells])
    return (
        f"## Differences from {reference.label}\n\nFrame by frame, with the 95 % interval of their mean.\n\n"
        + table(header, rows)
    )


def _pairs(model: ModelResult, reference: ModelResult, metric: str) -> list[tuple[float, float]]:
    theirs = {(row.item, row.frame): row.scores[metric] for row in reference.rows}
    return [(row.scores[metric], theirs[row.item, row.frame]) for row in model.rows if (row.item, row.frame) in theirs]


def _is_better(evaluation: Evaluation, metric: str, ours: float, theirs: float) -> bool:
    return ours > theirs if metric in evaluation.better_high else ours < theirs


def _cost(evaluation: Evaluation) -> str:
    rows = [[model.label, *cost_cells(model)] for model in evaluation.models]
    note = f"Of the network alone, on {evaluation.machine}: median of the frames, and peak memory above what was held."
    partly = [model for model in evaluation.models if len(model.timed) < len(model.rows)]
    if partly:
        shares = ", ".join(f"{len(model.timed)} of {len(model.rows)} ({model.label})" for model in partly)
        note += f" Frames whose scores were taken up from elsewhere don't count; timed are {shares}."
    return f"## Cost\n\n{note}\n\n" + table(["model", "parameters", "frame", "s per frame", "memory"], rows)


def cost_cells(model: ModelResult) -> list[str]:
    """Parameters, size of the frames, seconds and memory."""
    sizes = sorted({row.size for row in model.rows})
    size = "-" if not sizes else "x".join(map(str, reversed(sizes[-1]))) + (" and smaller" if len(sizes) > 1 else "")
    seconds = "-" if model.seconds is None else f"{model.seconds:.3g}"
    memory = "-" if model.memory is None else file_size(model.memory)
    return [f"{model.parameters:,}", size, seconds, memory]


def _frames(evaluation: Evaluation) -> str:
    shown = sum(len(model.rows) for model in evaluation.models)
    if shown > _FRAMES_SHOWN:
        return f"## Frames\n\n{shown} scores are in scores.csv."
    header = ["frame", "model", *evaluation.request.metrics]
    rows = [
        [row.frame, model.label, *(f"{row.scores[n]:.{digits_of(evaluation, n)}f}" for n in evaluation.request.metrics)]
        for model in evaluation.models
        for row in model.rows
    ]
    order = {frame: place for place, frame in enumerate(dict.fromkeys(row[0] for row in rows))}
    return "## Frames\n\n" + table(header, sorted(rows, key=lambda row: order[row[0]]))


def _failures(evaluation: Evaluation) -> str:
    if not evaluation.failures:
        return ""
    lines = [f"- {row.frame or row.item}, {label}: {row.error}" for label, row in evaluation.failures]
    return f"## Without scores: {len(lines)}\n\n" + "\n".join(lines)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, padded; the first column left, the others right."""
    grid = [[cell.replace("|", "\\|") for cell in row] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*grid, strict=True)]

    def line(cells: Sequence[str]) -> str:
        padded = (c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True)))
        return f"| {' | '.join(padded)} |"

    rule = ["-" * width if i == 0 else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    return "\n".join(map(line, (grid[0], rule, *grid[1:])))


def csv_text(evaluation: Evaluation) -> str:
    """A line for each frame and model, figures in full."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["model", "scale", "scene", "frame", *evaluation.request.metrics])
    for model in evaluation.models:
        for row in model.rows:
            scores = [repr(row.scores[name]) for name in evaluation.request.metrics]
            writer.writerow([model.label, evaluation.scale, row.scene, row.frame, *scores])
    return stream.getvalue()


def json_content(evaluation: Evaluation, command: str, pictures: Sequence[str] = ()) -> dict[str, Any]:
    """All of it, as ``scores.json`` holds it; numbers that aren't finite are the words ``inf`` and ``nan``.

    Args:
        evaluation: the result.
        command: that made it.
        pictures: files of it.
    """
    reference = evaluation.models[0]
    content = {
        "format_version": FORMAT_VERSION,
        "command": command,
        "commit": git_commit(),
        "code": code_digest(),
        "packages": packages(),
        "device": evaluation.machine,
        "precision": evaluation.request.precision,
        "data": {
            "name": evaluation.set_name,
            "scale": evaluation.scale,
            "digest": evaluation.digest,
            "items": evaluation.items[0],
            "items_held": evaluation.items[1],
            **evaluation.facts,
        },
        "metrics": {
            name: protocol.as_dict() | {"higher_is_better": name in evaluation.better_high}
            for name, protocol in evaluation.protocols.items()
        },
        "compared_with": reference.label,
        "models": [_model_content(model, reference) for model in evaluation.models],
        "pictures": list(pictures),
    }
    return {key: finite(value) for key, value in content.items()}


def _model_content(model: ModelResult, reference: ModelResult) -> dict[str, Any]:
    differences = {} if model is reference else model.differences(reference)
    return {
        "label": model.label,
        "name": model.name,
        "sha256": model.sha256,
        "source": model.source,
        "parameters": model.parameters,
        "seconds_per_frame": model.seconds,
        "peak_memory": model.memory,
        "scores": {name: estimate.as_dict() for name, estimate in model.means.items()},
        "differences": {name: estimate.as_dict() for name, estimate in differences.items()},
        "frames": [
            {
                "frame": row.frame,
                "scene": row.scene,
                "size": list(row.size),
                "scores": row.scores,
                "seconds": row.seconds,
                "memory": row.memory,
                "device": row.machine,
            }
            for row in model.rows
        ],
        "failures": [{"frame": row.frame or row.item, "error": row.error} for row in model.failures],
    }


def finite(value: Any) -> Any:
    """What JSON can hold: numbers that aren't finite become the words ``inf`` and ``nan``, at all depths."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [finite(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
