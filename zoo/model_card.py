"""Cards of published weights: Markdown with a YAML head, as the Hugging Face hub and people read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from zoo.errors import WeightsError
from zoo.hub_index import Weights
from zoo.registry import Card, citation, info

README = "README.md"

_TASK = {"type": "image-to-image", "name": "SDR to HDR"}
# What the hub knows among licences, in its own spelling; another is "other", by name.
_HUB_LICENSES = (
    *("apache-2.0", "mit", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0"),
    "unlicense",
)


@dataclass(frozen=True)
class Score:
    """A line of the card's table.

    Attributes:
        metric: its name.
        value: mean over the set, of the published file.
        low: lower end of the 95 % interval of the mean; None where it can't be told.
        high: upper end.
        moved: by how much storing the weights changed it.
        unit: of the figure.
        protocol: what it means.
    """

    metric: str
    value: float
    low: float | None
    high: float | None
    moved: float
    unit: str
    protocol: str


@dataclass(frozen=True)
class Beside:
    """Another model or baseline on the same frames.

    Attributes:
        label: how the tables call it.
        means: by metric.
        gains: this file's scores less its, frame by frame: mean and 95 % interval (None where it can't be told), by
            metric.
    """

    label: str
    means: Mapping[str, float]
    gains: Mapping[str, tuple[float, float | None, float | None]]


@dataclass(frozen=True)
class ScoredSet:
    """What was scored on one set.

    Attributes:
        measured: which set and how, in words.
        command: that gives these scores again.
        scores: of this file, in the order in which they are shown.
        beside: what else was scored.
    """

    measured: str
    command: str
    scores: Sequence[Score]
    beside: Sequence[Beside] = field(default=())


def card_text(weights: Weights, sets: Sequence[ScoredSet], stored: str, output: str) -> str:
    """The card of one file of weights.

    Args:
        weights: its line of the index.
        sets: what it was scored on, the one of the index first.
        stored: how the numbers are kept and what that changes, a sentence or two.
        output: what was seen of the network, a paragraph.
    """
    card = info(weights.name)
    head = _head(weights.license) | {
        "model-index": [_results(weights.full_name, [(each.measured, _means(each.scores)) for each in sets])],
        "sritm": _identity(weights),
    }
    rows = "\n".join(f"| {name} | {value} |" for name, value in _facts(card, weights).items())
    return f"""---
{yaml.safe_dump(head, sort_keys=False, allow_unicode=True).strip()}
---

# {weights.full_name}

{card.summary}.
{_note(weights)}
```python
net = zoo.load("{weights.full_name}")
```

| | |
| --- | --- |
{rows}

## Scores

{chr(10).join(map(_set_text, sets))}
{stored} {output}

## Training data

{weights.data_card}

## Citation

{card.paper}

```bibtex
{citation(weights.name)}
```
"""


def _note(weights: Weights) -> str:
    return f"\n**{weights.note}**\n" if weights.note else ""


def _set_text(scored: ScoredSet) -> str:
    rows = [f"| {score.metric} | {_figure(score)} | {score.moved:+.4f} | {score.protocol} |" for score in scored.scores]
    lines = [
        *(f"Of this file, {scored.measured}:", "", f"    {scored.command}", ""),
        *("| metric | mean | moved by storing | what it means |", "| --- | --- | --- | --- |", *rows, ""),
    ]
    if scored.beside:
        metrics = "".join(f" {score.metric} |" for score in scored.scores)
        lines += ["On the same frames, and in brackets what this file has more, with the 95 % interval:", ""]
        lines += [f"| |{metrics}", f"| --- |{' --- |' * len(scored.scores)}"]
        lines += [
            f"| `{other.label}` |" + "".join(f" {_beside(other, score)} |" for score in scored.scores)
            for other in scored.beside
        ]
        lines.append("")
    return "\n".join(lines)


def _beside(other: Beside, score: Score) -> str:
    if score.metric not in other.means:
        return ""
    digits = _digits(score)
    text = f"{other.means[score.metric]:.{digits}f}"
    if score.metric not in other.gains:
        return text
    gain, low, high = other.gains[score.metric]
    interval = "" if low is None or high is None else f"; {low:+.{digits}f} to {high:+.{digits}f}"
    return f"{text} ({gain:+.{digits}f}{interval})"


def _figure(score: Score) -> str:
    digits = _digits(score)
    text = f"{score.value:.{digits}f}" + (f" {score.unit}" if score.unit != "1" else "")
    if score.low is None or score.high is None:
        return text
    return f"{text} [{score.low:.{digits}f}, {score.high:.{digits}f}]"


def _digits(score: Score) -> int:
    return 4 if score.unit == "1" else 2


def _means(scores: Sequence[Score]) -> dict[str, float]:
    return {score.metric: score.value for score in scores}


def network_facts(
    parameters: int, macs_per_pixel: int | None, memory_per_megapixel: int | None, halo: tuple[int, int] | None
) -> dict[str, str]:
    """Lines of a card on a network as it is built; what they are of, ``zoo.registry.Card`` says."""
    rows, columns = halo or (0, 0)
    return {
        "parameters": f"{parameters:,}",
        "multiply-adds for a pixel of the output": f"{macs_per_pixel:,}",
        "memory for a megapixel of the output": f"{memory_per_megapixel:,} MB in float32, by count",
        "reach": f"{rows} rows and {columns} columns of input pixels to each side",
    }


def _facts(card: Card, weights: Weights) -> dict[str, str]:
    return {
        "input": f"`{card.input}`",
        "output": f"`{card.output}`",
        "scale": str(card.scale),
        **network_facts(card.parameters, card.macs_per_pixel, card.memory_per_megapixel, card.halo),
        "licence of the weights": weights.license,
        "architecture": f"[the authors' code]({card.code})" if card.code else "ours",
        "file": f"`{weights.file}`, {weights.bytes:,} bytes",
        "SHA-256": f"`{weights.sha256}`",
        **weights.facts,  # where the file builds another network than the model's usual one, it replaces the above
    }


def _identity(weights: Weights) -> dict[str, Any]:
    keys = ("name", "tag", "file", "bytes", "sha256", "license")
    return {key: getattr(weights, key) for key in keys}


def _head(license: str) -> dict[str, Any]:
    known = license.lower() in _HUB_LICENSES
    return {
        **({"license": license.lower()} if known else {"license": "other", "license_name": license}),
        "library_name": "sritm-zoo",
        "pipeline_tag": "image-to-image",
        "tags": ["hdr", "inverse-tone-mapping", "super-resolution", "sritm-zoo"],
    }


def _results(full_name: str, sets: Sequence[tuple[str, Mapping[str, float]]]) -> dict[str, Any]:
    results = [
        {
            "task": dict(_TASK),  # a copy, or YAML writes a reference to the first
            "dataset": {"type": "sritm-zoo", "name": measured},
            "metrics": [{"type": name, "value": round(value, 4)} for name, value in scores.items()],
        }
        for measured, scores in sets
    ]
    return {"name": full_name, "results": results}


def folder_text(entries: Sequence[Weights]) -> str:
    """``README.md`` of a folder of weights, the model card of a repository that holds it."""
    licenses = {weights.license for weights in entries}
    head = _head(licenses.pop() if len(licenses) == 1 else "various")
    head["model-index"] = [_results(each.full_name, [(each.measured, each.scores)]) for each in entries]
    metrics = list(dict.fromkeys(name for weights in entries for name in weights.scores))
    rows = ["| " + " | ".join(["weights", *metrics, "on", "licence"]) + " |", "| --- " * (len(metrics) + 3) + "|"]
    for weights in entries:
        cells = [f"{weights.scores[name]:.4g}" if name in weights.scores else "" for name in metrics]
        link = f"[{weights.full_name}]({weights.card})"
        rows.append("| " + " | ".join([link, *cells, weights.measured, weights.license]) + " |")
    text = yaml.safe_dump(head, sort_keys=False, allow_unicode=True).strip()
    return f"""---
{text}
---

# Trained weights

Networks from low-resolution SDR to high-resolution HDR, for `zoo.load` of sritm-zoo, which checks each file by
`index.json`. `SHA256SUMS` serves `sha256sum -c`. Files of a tag never change.

{chr(10).join(rows)}
{_notes(entries)}"""


def _notes(entries: Sequence[Weights]) -> str:
    lines = [f"- `{weights.full_name}`: {weights.note}\n" for weights in entries if weights.note]
    return "".join(["\n", *lines]) if lines else ""


def check_head(weights: Weights, path: Path) -> None:
    """Refuse a card whose head says something else than the index.

    Raises:
        WeightsError: it does, or it has no head.
    """
    try:
        stated = yaml.safe_load(path.read_text(encoding="utf-8").split("---\n")[1])["sritm"]
        differing = [key for key, value in _identity(weights).items() if stated[key] != value]
    except (OSError, ValueError, IndexError, KeyError, TypeError, yaml.YAMLError) as error:
        raise WeightsError(f"{path} has no head that says what it is the card of ({type(error).__name__})") from error
    if differing:
        key = differing[0]
        raise WeightsError(
            f"{path} contradicts {weights.file}: its {key} is {stated[key]}, not {getattr(weights, key)}; publish again"
        )
