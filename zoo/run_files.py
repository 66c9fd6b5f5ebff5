"""Reads what a run leaves in its folder. What isn't there, or was cut short by a kill, is left out."""

from __future__ import annotations

import csv
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import yaml

REPORT_NAME = "report.json"
SCORES_NAME = "scores.csv"
PANELS_NAME = "panels"
STAGE = "stages/stage"
_STEP = "step"


class Metrics(NamedTuple):
    """What a run has logged.

    Attributes:
        curves: by key: (step, value) in order of the steps; a step is the number of updates done.
        epoch: the newest one, from 0.
        step: the newest one.
        switch: the step with which stage 1 ended.
    """

    curves: dict[str, list[tuple[float, float]]]
    epoch: int | None
    step: int | None
    switch: int | None


def read_metrics(run_dir: Path) -> Metrics:
    """The scalars of all starts of a run, joined by step: where two have the same steps, the later one counts.

    Args:
        run_dir: the run's folder, with ``csv/version_*/metrics.csv``.
    """
    records: list[tuple[int, dict[str, float]]] = []
    # The loggers' step is the number of updates before the one that a record is of.
    files = (run_dir / "csv").glob("version_*/metrics.csv")
    for path in sorted(files, key=lambda path: int(path.parent.name.rpartition("_")[2])):
        newer = list(_records(path))
        if newer:
            first = min(step for step, _ in newer)
            records = [record for record in records if record[0] < first] + newer
    records.sort(key=lambda record: record[0])  # those of one step in the order in which they were written
    curves: dict[str, dict[int, float]] = defaultdict(dict)
    for step, values in records:
        for key, value in values.items():
            curves[key][step] = value
    epochs = curves.pop("epoch", {})
    return Metrics(
        {key: [(step + 1.0, value) for step, value in points.items()] for key, points in curves.items()},
        int(max(epochs.values())) if epochs else None,
        records[-1][0] + 1 if records else None,
        next((step for step, stage in curves.get(STAGE, {}).items() if stage == 2), None) if STAGE in curves else None,
    )


def _records(path: Path) -> Iterator[tuple[int, dict[str, float]]]:
    """Step and values of each line; what a kill has cut short is left out."""
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            try:
                values = {key: float(text) for key, text in row.items() if key is not None and text}
                yield int(values.pop(_STEP)), values
            except (KeyError, ValueError, TypeError):
                continue


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file's mapping."""
    with suppress(OSError, yaml.YAMLError):
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        return content if isinstance(content, dict) else {}
    return {}


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file's object."""
    with suppress(OSError, ValueError):
        return json.loads(path.read_text(encoding="utf-8"))
    return {}


def read_rows(path: Path) -> list[dict[str, str]]:
    """The lines of a CSV file, by its titles."""
    with suppress(OSError), path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
    return []


def rounds_of_panels(run_dir: Path) -> list[Path]:
    """Folders of what was drawn of the network, one for each time, in the order of the epochs."""
    rounds = ((re.match(r"epoch-(\d+)", path.name), path) for path in (run_dir / PANELS_NAME).glob("epoch-*"))
    numbered = [(int(match[1]), path) for match, path in rounds if match and path.is_dir()]
    return [path for _, path in sorted(numbered)]
