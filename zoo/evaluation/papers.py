"""The papers' tables of results, with the figures as printed, and ours beside them on whatever set is given."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from zoo.errors import ConfigError, WeightsError, ZooError
from zoo.evaluation.models import ModelRequest, load_model, parse_model
from zoo.evaluation.report import Evaluation, Request, evaluate
from zoo.evaluation.sets import open_sets
from zoo.evaluation.tables import cost_cells, digits_of, table
from zoo.metrics import METRICS, Suite


@dataclass(frozen=True)
class PaperRow:
    """One row of a table.

    Attributes:
        method: as the paper calls it.
        scale: HR over LR size.
        model: the zoo's name of it.
        figures: as printed, in the order of the table's metrics.
    """

    method: str
    scale: int
    model: str
    figures: tuple[float, ...]


@dataclass(frozen=True)
class PaperTable:
    """A table of results.

    Attributes:
        title: which one.
        metrics: of ours that come nearest to its columns.
        rows: in the paper's order.
        notes: what the paper says beside it, and where its figures can't be compared.
    """

    title: str
    metrics: tuple[str, ...]
    rows: tuple[PaperRow, ...]
    notes: tuple[str, ...]


_METRICS = ("psnr", "mpsnr", "ssim", "ms_ssim", "hdr_vdp2")
_KAIST = "Paper: 28 frames of 3840x2160 of the authors' own test set; figures of another set can't be compared."
_SSIM = "Paper: it isn't known which form of SSIM and MS-SSIM these are (docs/metrics.md)."


def _rows(scale: int, *rows: tuple[str, str, tuple[float, ...]]) -> tuple[PaperRow, ...]:
    return tuple(PaperRow(method, scale, model, figures) for method, model, figures in rows)


TABLES = {
    "deep_sritm.table4": PaperTable(
        title="Deep SR-ITM (ICCV 2019), Table 4",
        metrics=_METRICS,
        rows=(
            *_rows(
                2,
                ("EDSR + Kovaleski et al.", "edsr_x2+kovaleski", (23.59, 25.48, 0.6504, 0.9737, 57.24)),
                ("EDSR + Masia et al.", "edsr_x2+masia", (24.71, 26.65, 0.7095, 0.9679, 60.04)),
                ("EDSR + Huo et al.", "edsr_x2+huo", (29.76, 31.81, 0.8934, 0.9764, 58.95)),
                ("EDSR + Eilertsen et al.", "edsr_x2+hdrcnn", (25.80, 28.22, 0.7586, 0.9635, 53.51)),
                ("Multi-purpose CNN", "multipurpose_cnn_x2", (34.11, 36.38, 0.9671, 0.9817, 60.91)),
                ("Deep SR-ITM", "deep_sritm_x2", (35.58, 37.80, 0.9746, 0.9839, 61.39)),
            ),
            *_rows(
                4,
                ("EDSR + Kovaleski et al.", "edsr_x4+kovaleski", (23.46, 25.34, 0.6325, 0.9670, 56.70)),
                ("EDSR + Masia et al.", "edsr_x4+masia", (24.54, 26.47, 0.6968, 0.9608, 57.74)),
                ("EDSR + Huo et al.", "edsr_x4+huo", (28.90, 30.92, 0.8753, 0.9693, 55.59)),
                ("EDSR + Eilertsen et al.", "edsr_x4+hdrcnn", (26.54, 28.75, 0.7822, 0.9631, 53.88)),
                ("Multi-purpose CNN", "multipurpose_cnn_x4", (33.10, 35.26, 0.9499, 0.9758, 56.41)),
                ("Deep SR-ITM", "deep_sritm_x4", (33.61, 35.73, 0.9561, 0.9748, 56.07)),
            ),
        ),
        notes=(
            _KAIST,
            _SSIM,
            "Paper: Deep SR-ITM has 2.5 M (x2) and 2.64 M (x4) filter parameters, EDSR alone 43 M; a frame of "
            "3840x2160 takes 5.85 s (x2) and 5.05 s (x4) on an NVIDIA TITAN Xp.",
        ),
    ),
    "jsigan.table2": PaperTable(
        title="JSI-GAN (AAAI 2020), Table 2",
        metrics=_METRICS,
        rows=(
            *_rows(
                2,
                ("EDSR + Huo et al.", "edsr_x2+huo", (29.76, 31.81, 0.8934, 0.9764, 58.95)),
                ("EDSR + Eilertsen et al.", "edsr_x2+hdrcnn", (25.80, 28.22, 0.7586, 0.9635, 53.51)),
                ("Multi-purpose CNN", "multipurpose_cnn_x2", (34.11, 36.38, 0.9671, 0.9817, 60.91)),
                ("Deep SR-ITM", "deep_sritm_x2", (35.58, 37.80, 0.9746, 0.9839, 61.39)),
                ("JSInet (w/o GAN)", "jsinet_x2", (35.99, 38.20, 0.9768, 0.9843, 60.58)),
                ("JSI-GAN (w/ GAN)", "jsigan_x2", (35.73, 37.96, 0.9763, 0.9841, 60.80)),
            ),
            *_rows(
                4,
                ("EDSR + Huo et al.", "edsr_x4+huo", (28.90, 30.92, 0.8753, 0.9693, 55.59)),
                ("EDSR + Eilertsen et al.", "edsr_x4+hdrcnn", (26.54, 28.75, 0.7822, 0.9631, 53.88)),
                ("Multi-purpose CNN", "multipurpose_cnn_x4", (33.10, 35.26, 0.9499, 0.9758, 56.41)),
                ("Deep SR-ITM", "deep_sritm_x4", (33.61, 35.73, 0.9561, 0.9748, 56.07)),
                ("JSInet (w/o GAN)", "jsinet_x4", (33.74, 35.93, 0.9598, 0.9759, 56.45)),
                ("JSI-GAN (w/ GAN)", "jsigan_x4", (33.50, 34.82, 0.9572, 0.9743, 56.41)),
            ),
        ),
        notes=(_KAIST, _SSIM, "Paper: PSNR of JSI-GAN's test code isn't clipped; it gives no time and no parameters."),
    ),
}
"""By name, as ``--table`` takes them."""


@dataclass(frozen=True)
class PaperResult:
    """A paper's table with our figures.

    Attributes:
        paper: the table.
        evaluations: by scale.
        labels: which of our models fills which row, by the zoo's name.
        missing: why a row has no figures of ours, by the zoo's name.
        notes: what was left out of it all.
    """

    paper: PaperTable
    evaluations: dict[int, Evaluation]
    labels: dict[str, str]
    missing: dict[str, str]
    notes: list[str]


def evaluate_table(name: str, request: Request) -> PaperResult | None:
    """Evaluate every row of a paper's table that can be had.

    Args:
        name: a key of ``TABLES``.
        request: its models fill the rows of their names, the others are rows of their own below; without a scale, each
            of the paper's is taken that the set has. Results of a scale go to ``output/xSCALE``.

    Returns:
        The table; None in a launcher's other processes.

    Raises:
        ConfigError: no such table.
        ZooError: nothing of it can be evaluated; as ``evaluate``.
    """
    if name not in TABLES:
        raise ConfigError(f"no table {name!r}; known: {', '.join(TABLES)}")
    paper = TABLES[name]
    given = [parse_model(text) for text in request.models]
    metrics, notes = _metrics(request.metrics or paper.metrics)
    result = PaperResult(paper, {}, {}, {}, notes)
    refused: ConfigError | None = None
    is_first = True
    for scale in dict.fromkeys(row.scale for row in paper.rows):
        if request.scale not in (None, scale):
            continue
        try:
            open_sets(request.data, request.splits, scale, request.reading)
        except ConfigError as error:
            refused = error
            notes.append(f"x{scale}: {error}")
            continue
        rows = [row for row in paper.rows if row.scale == scale]
        models = _models(rows, given, scale, result)
        if models:
            output = request.output / f"x{scale}"
            at_scale = replace(request, models=tuple(models), scale=scale, output=output, metrics=metrics)
            evaluation = evaluate(at_scale)
            is_first = evaluation is not None
            if evaluation is not None:
                result.evaluations[scale] = evaluation
    for model in given:
        if all(model.label not in [each.label for each in e.models] for e in result.evaluations.values()):
            result.missing.setdefault(model.label, f"it has scale {model.scale}, of which nothing was evaluated")
    if not is_first:
        return None
    if not result.evaluations:
        if refused is not None and not result.missing:
            raise refused
        first = next(iter(result.missing.values()), "no row has this scale")
        raise ConfigError(f"no row of {name} can be evaluated: {first}; give weights as --model NAME=FILE")
    return result


def _metrics(names: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """Those that can run here, and why the others can't."""
    usable, notes = [], []
    for name in names:
        if name not in METRICS:
            Suite([name])  # says which there are
        try:
            Suite([name])
        except ConfigError as error:
            notes.append(f"`{name}` is left out: {error}")
        else:
            usable.append(name)
    if not usable:
        raise ConfigError("none of the metrics can run here: " + "; ".join(notes))
    return tuple(usable), notes


def _models(rows: Sequence[PaperRow], given: Sequence[ModelRequest], scale: int, result: PaperResult) -> list[str]:
    """Labels of the models at a scale, the paper's rows first."""
    models = []
    for row in rows:
        own = [model for model in given if _of_row(model.name) == row.model]
        chosen = own[0] if own else None
        try:
            request = chosen or parse_model(row.model)
            if chosen is None and "+" in row.model:  # to build its 43 million parameters takes seconds
                raise WeightsError("it has no published weights")
            load_model(request, scale)
        except ZooError as error:
            if chosen is not None:
                raise
            needs = f"give the weights of {row.model.partition('+')[0]}, --model {row.model}=FILE"
            result.missing[row.model] = needs if isinstance(error, WeightsError) else str(error)
            continue
        models.append(request.label)
        models += [model.label for model in own[1:]]  # rows of their own
        result.labels[row.model] = request.label
    names = {row.model for row in result.paper.rows}
    own = [model for model in given if _of_row(model.name) not in names and model.scale in (None, scale)]
    return models + [model.label for model in own]


def _of_row(name: str) -> str:
    """A model's name without the tag of its weights, or without the file of a cascade's."""
    if "+" in name:
        return re.sub(r"@.*\+", "+", name)
    return name.partition(".")[0]


def table_text(result: PaperResult) -> str:
    """Ours beside the paper's, as Markdown."""
    metrics = next(iter(result.evaluations.values())).request.metrics
    header = ["method", "scale", *(f"{name} ours / paper" for name in metrics)]
    header += ["parameters", "frame", "s per frame", "memory"]
    rows = []
    for row in result.paper.rows:
        paper = dict(zip(result.paper.metrics, row.figures, strict=True))
        rows.append(_row(result, row.method, row.scale, result.labels.get(row.model), paper, metrics))
    filled = set(result.labels.values())
    for scale, evaluation in result.evaluations.items():
        others = [model.label for model in evaluation.models if model.label not in filled]
        rows += [_row(result, label, scale, label, {}, metrics) for label in others]
    sets = "; ".join(f"x{scale}: {e.set_name}" for scale, e in result.evaluations.items())
    lines = [f"# {result.paper.title}", "", f"Ours on {sets}. Memory and time are of the network alone.", ""]
    lines += [table(header, rows), "", *(f"- {note}" for note in (*result.paper.notes, *result.notes))]
    lines += [f"- no figures of `{model}`: {reason}" for model, reason in result.missing.items()]
    return "\n".join(lines) + "\n"


def _row(
    result: PaperResult, title: str, scale: int, label: str | None, paper: dict[str, float], metrics: Sequence[str]
) -> list[str]:
    evaluation = result.evaluations.get(scale)
    found = [model for model in evaluation.models if model.label == label] if evaluation else []
    cells = []
    for name in metrics:
        digits = 4 if name in ("ssim", "ms_ssim") else 2
        ours = "-"
        if evaluation and found and name in found[0].means:
            ours = f"{found[0].means[name].mean:.{digits_of(evaluation, name)}f}"
        cells.append(f"{ours} / {paper[name]:.{digits}f}" if name in paper else ours)
    return [title, f"x{scale}", *cells, *(cost_cells(found[0]) if found else ["-"] * 4)]
