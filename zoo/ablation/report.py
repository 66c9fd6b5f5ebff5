"""An ablation's table: our figures beside the paper's, and whether they come in the same order."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from itertools import combinations
from math import isfinite
from typing import Any

from zoo.ablation.running import Run
from zoo.ablation.tables import METRICS, Ablation, Budget, Column
from zoo.errors import ConfigError
from zoo.evaluation.tables import table

_TITLES = {"psnr": "PSNR, dB", "ssim": "SSIM"}
_DIGITS = {"psnr": 2, "ssim": 4}

Scores = Mapping[str, Mapping[int, Mapping[str, Any]]]
"""Results by column and seed."""


def gather(ablation: Ablation, runs: Sequence[Run]) -> Scores:
    """The results there are.

    Raises:
        ConfigError: they are of different data, so that nothing could be compared.
    """
    scores: dict[str, dict[int, Any]] = {column.name: {} for column in ablation.columns}
    data: dict[str, Run] = {}
    for run in runs:
        if (result := run.result) is not None:
            scores[run.column][run.seed] = result
            data.setdefault(result.get("data", ""), run)
    if len(data) > 1:
        first, second, *_ = data.values()
        raise ConfigError(f"{first.folder} and {second.folder} are of different data: give another -o, or remove one")
    return scores


def table_text(ablation: Ablation, budget: Budget, scores: Scores) -> str:
    """The table as Markdown, with what it was trained on above and what can be read off it below."""
    header = ["column", "seeds", "filter parameters"]
    for name in METRICS:
        header += [f"{_TITLES[name]}: ours", "rank", "paper", "rank"]
    rows = [_row(ablation, column, scores) for column in ablation.columns]
    parts = [[f"# {ablation.title}"], _head(ablation, budget, scores), [table(header, rows)], _order(ablation, scores)]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def _head(ablation: Ablation, budget: Budget, scores: Scores) -> list[str]:
    data = ablation.columns[0].recipe["data"]
    seeds = sorted({seed for results in scores.values() for seed in results})
    results = [result for column in scores.values() for result in column.values()]
    splits = {f"{len(result['frames'])} {result['split']} frames" for result in results}
    crop, batch = budget.crop or data["crop"][0], budget.batch or data["batch_size"]
    return [
        f"- {budget.updates} updates of batch {batch}, HR crops of {crop}, on {budget.data or data['root']}",
        f"- seeds {', '.join(map(str, seeds)) or 'none yet'}; scored on {', '.join(sorted(splits)) or 'nothing yet'}",
        "- ours: mean ± standard deviation over the seeds; PSNR and SSIM (mean of the channels) as docs/metrics.md has "
        "them",
        "- paper: its own frames, data and budget: compare orders, not figures",
    ]


def _row(ablation: Ablation, column: Column, scores: Scores) -> list[str]:
    results = scores[column.name].values()
    filters = next((f"{result['filter_parameters']:,}" for result in results), "-")
    cells = [f"({column.name}) {column.title}", str(len(results)), filters]
    rivals = [other for other in ablation.columns if other.scale == column.scale]
    for name in METRICS:
        digits = _DIGITS[name]
        values = [result[name] for result in results]
        ours = "-"
        if values:
            ours = f"{statistics.mean(values):.{digits}f}"
            if len(values) > 1:
                ours += f" ± {statistics.stdev(values):.{digits}f}"
        paper = column.paper.get(name)
        printed = "-" if paper is None else f"{paper:.{digits}f}"
        means = {other.name: _mean(scores, other, name) for other in rivals}
        papers = {other.name: other.paper.get(name) for other in rivals}
        cells += [ours, _rank(means, column.name), printed, _rank(papers, column.name)]
    return cells


def _mean(scores: Scores, column: Column, metric: str) -> float | None:
    values = [result[metric] for result in scores[column.name].values()]
    return statistics.mean(values) if values else None


def _rank(values: Mapping[str, float | None], name: str) -> str:
    """1 for the highest; equal ones have the same."""
    own = values[name]
    return "-" if own is None else str(1 + sum(value is not None and value > own for value in values.values()))


def _order(ablation: Ablation, scores: Scores) -> list[str]:
    """How many pairs of columns come in the paper's order; within a seed, whose runs see the same data."""
    lines = []
    for scale in dict.fromkeys(column.scale for column in ablation.columns):
        columns = [column for column in ablation.columns if column.scale == scale]
        for name in METRICS:
            differences = []
            for one, other in combinations(columns, 2):
                if name not in one.paper or name not in other.paper or one.paper[name] == other.paper[name]:
                    continue
                sign = 1 if one.paper[name] > other.paper[name] else -1
                ours, theirs = scores[one.name], scores[other.name]
                each = [sign * (ours[seed][name] - theirs[seed][name]) for seed in ours.keys() & theirs.keys()]
                if each and all(map(isfinite, each)):
                    differences.append(each)
            if differences:
                right = sum(statistics.mean(each) > 0 for each in differences)
                always = sum(min(each) > 0 for each in differences)
                never = sum(max(each) < 0 for each in differences)
                lines.append(
                    f"- {_TITLES[name].partition(',')[0]}, x{scale}: {right} of {len(differences)} pairs of columns in "
                    f"the paper's order; with every seed in it: {always}, against it: {never}"
                )
    return lines
