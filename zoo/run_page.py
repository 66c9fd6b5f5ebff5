"""One HTML page of a run: scores, curves, panels and frames, readable without an account or a network.

It is made of the files in the run's folder alone, and shows those pictures where they lie.
"""

from __future__ import annotations

import math
import os
import re
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from zoo.charts import line_chart, number_text, sparkline
from zoo.errors import ConfigError
from zoo.files import replacing
from zoo.run_files import (
    REPORT_NAME,
    SCORES_NAME,
    STAGE,
    Metrics,
    read_json,
    read_metrics,
    read_rows,
    read_yaml,
    rounds_of_panels,
)
from zoo.runs import CONFIG_NAME

PAGE_NAME = "index.html"

_HERE = Path(__file__)
SECTIONS = {"train": "Training", "val": "Validation", "stages": "Stages", "speed": "Speed", "data": "Data"}
_ORACLE = "bicubic+oracle"  # it knows the curve, so it is no rival
# What is more than its key says: title and unit.
TITLES = {
    "train/loss": ("Loss", ""),
    "val/psnr": ("PSNR, raw", "dB"),
    "val/psnr_rgb": ("PSNR on R'G'B'", "dB"),
    "val/pu21_psnr": ("PU21-PSNR", "dB"),
    "val/delta_e_itp": ("ΔE ITP, less is better", ""),
    "stages/rate": ("Learning rate", ""),
    "speed/samples_per_second": ("Samples per second", ""),
    "speed/data_wait": ("Waiting for data", "%"),
    "speed/mfu": ("Use of the device's arithmetic (MFU)", "%"),
    "speed/tflops": ("TFLOP/s of a device", ""),
    "speed/memory_gb": ("Memory at most", "GB"),
    "speed/gpu_idle": ("GPU idle", "%"),
}
# Panels as they are looked at; others come after.
_PANELS = ("input", "base", "detail", "prediction", "truth", "error")
# Curves of one chart: the first key that is there names it.
_TOGETHER = (re.compile(r"train/loss_.+"), re.compile(r"stages/rate.*"))


def write_page(run_dir: str | os.PathLike[str]) -> Path:
    """Write ``index.html`` into a run's folder, whole or not at all.

    It needs nothing but the folder, and each part of it only the files of that part, so the page of a run in progress
    or of one that was killed shows what there is.

    Args:
        run_dir: the folder.

    Returns:
        The page's path.

    Raises:
        ConfigError: the folder holds no run.
        OSError: the page can't be written.
    """
    folder = Path(run_dir)
    if not (folder / CONFIG_NAME).is_file():
        raise ConfigError(f"{folder} is no folder of a run: it has no {CONFIG_NAME}")
    path = folder / PAGE_NAME
    with replacing(path) as temporary:
        temporary.write_text(_page(folder), encoding="utf-8")
    return path


def _page(folder: Path) -> str:
    metrics = read_metrics(folder)
    config = read_yaml(folder / CONFIG_NAME)
    report = read_json(folder / REPORT_NAME)
    scores = read_rows(folder / SCORES_NAME)
    # A run that was gone on with has a report of before.
    done = bool(report) and (metrics.step is None or report["steps"] >= metrics.step)
    parts = {
        "Scores": _scores(report, done),
        "Curves": _curves(metrics, report),
        "Panels": _panels(folder),
        "Frames": _frames(scores),
        "Pictures": _pictures(folder),
        "Configuration": _configuration(folder),
    }
    there = {title: text for title, text in parts.items() if text}
    links = "".join(f'<a href="#{title.lower()}">{title}</a>' for title in there)
    sections = "".join(
        f'<section id="{title.lower()}"><h2>{title}</h2>{text}</section>' for title, text in there.items()
    )
    name = report.get("model") or _model_name(config)
    state = '<span class="state done">finished</span>' if done else '<span class="state open">not finished</span>'
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        f"<title>{escape(folder.resolve().name)}: {escape(name)}</title>"
        f"<style>{_HERE.with_suffix('.css').read_text(encoding='utf-8')}</style></head><body>"
        f"<header><h1>{escape(name)}{state}</h1>"
        f'<p class="about">{escape(_about(folder, config, report))}</p><nav>{links}</nav></header>'
        f'<main><div class="tiles">{_tiles(metrics, report, scores, done)}</div>{sections}</main>'
        f"<footer>Written {time.strftime('%Y-%m-%d %H:%M')}; <code>sritm report {escape(folder.name)}</code> "
        "writes it anew.</footer>"
        f"<script>{_HERE.with_suffix('.js').read_text(encoding='utf-8')}</script></body></html>\n"
    )


def _within(config: Mapping[str, Any], *keys: str) -> Any:
    """A value of nested mappings, None if a key is missing on the way."""
    value: Any = config
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _model_name(config: Mapping[str, Any]) -> str:
    """What is trained, by the module's class, while no report says it."""
    module = str(_within(config, "model", "class_path") or "run").rpartition(".")[2].removesuffix("Module")
    return f"{module} x{config['scale']}" if "scale" in config else module


def _about(folder: Path, config: Mapping[str, Any], report: Mapping[str, Any]) -> str:
    facts = [folder.resolve().name]
    if root := _within(config, "data", "root"):
        facts.append(f"data {', '.join(root) if isinstance(root, list) else root}")
    if precision := report.get("precision") or _within(config, "trainer", "precision"):
        facts.append(str(precision))
    if ranks := report.get("ranks"):
        facts.append(f"{ranks} rank{'s' * (ranks > 1)}")
    return " · ".join(facts)


def _tile(label: str, value: str, more: str = "", kind: str = "") -> str:
    number, _, unit = value.partition(" ")
    unit = f" <small>{escape(unit)}</small>" if unit else ""
    return (
        f'<div class="tile"><div class="label">{escape(label)}</div><div class="value">{escape(number)}{unit}</div>'
        f'<div class="more {kind}">{escape(more)}</div></div>'
    )


def _tiles(
    metrics: Metrics, report: Mapping[str, Any], scores: Sequence[Mapping[str, str]], done: bool
) -> Iterator[str] | str:
    tiles = []
    points = [(step, value) for step, value in metrics.curves.get("val/psnr", ()) if math.isfinite(value)]
    if done and report["psnr_after"] is not None:
        tiles.append(_tile("PSNR of the weights, raw", _decibels(report["psnr_after"]), *_beside_rivals(report)))
        tiles.append(_tile("exposure-matched", _decibels(report["psnr_after_matched"]), "forgives a wrong level"))
    elif points:
        step, best = max(points, key=lambda point: point[1])
        tiles.append(_tile("best validation PSNR, raw", _decibels(best), f"at step {step:,.0f}"))
        tiles.append(_tile("newest validation PSNR", _decibels(points[-1][1]), f"at step {points[-1][0]:,.0f}"))
    if metrics.step is not None:
        words = [] if metrics.epoch is None else [f"epoch {metrics.epoch + 1}"]
        if stages := metrics.curves.get(STAGE):
            words.append(f"stage {stages[-1][1]:.0f}")
        tiles.append(_tile("steps", f"{report['steps'] if done else metrics.step:,}", ", ".join(words)))
    if speed := metrics.curves.get("speed/samples_per_second"):
        wait = metrics.curves.get("speed/data_wait", [(0.0, math.nan)])[-1][1]
        more = f"{100 * wait:.0f} % of the time waits for data" if math.isfinite(wait) else ""
        tiles.append(_tile("samples per second", f"{speed[-1][1]:,.3g}", more, "warn" if wait > 0.1 else ""))
    if frames := len({row.get("frame") for row in scores}) or report.get("validation_frames"):
        tiles.append(_tile("validation frames", f"{frames:,}"))
    return "".join(tiles)


def _decibels(value: float | None) -> str:
    return "-" if value is None or not math.isfinite(value) else f"{value:.2f} dB"


def _beside_rivals(report: Mapping[str, Any]) -> tuple[str, str]:
    """The weights beside the best static converter, in words, and whether that is good."""
    rivals = {name: raw for name, raw in _baselines(report).items() if name != _ORACLE}
    if not rivals:
        return "", ""
    best = max(rivals, key=rivals.__getitem__)
    gain = report["psnr_after"] - rivals[best]
    side, kind = ("above", "good") if gain > 0 else ("below", "warn")
    return f"{abs(gain):.2f} dB {side} {best}, the best static converter", kind


def _baselines(report: Mapping[str, Any]) -> dict[str, float]:
    """Raw scores of the baselines that have one."""
    return {name: s["raw"] for name, s in report.get("baselines", {}).items() if s["raw"] is not None}


def _scores(report: Mapping[str, Any], done: bool) -> str:
    """The weights and the baselines, the best first."""
    if not report:
        return ""
    rows = [
        ("weights after training", report["psnr_after"], report["psnr_after_matched"], True),
        ("weights before", report["psnr_before"], None, False),
        *((name, scores["raw"], scores["matched"], False) for name, scores in report["baselines"].items()),
    ]
    rows = sorted((row for row in rows if row[1] is not None), key=lambda row: -row[1])
    if not rows:
        return '<p class="none">The data has no validation frames: nothing was scored.</p>'
    most = max(rows[0][1], 1e-9)
    lines = "".join(
        f"<tr{' class=own' if own else ''}><td>{escape(name)}</td><td>{raw:.2f}</td>"
        f"<td>{'' if matched is None else f'{matched:.2f}'}</td>"
        f'<td class="bars"><span class="bar" style="width:{100 * max(raw, 0) / most:.1f}%"></span></td></tr>'
        for name, raw, matched, own in rows
    )
    before = "" if done else '<p class="none">Of the report at the run\'s last end; it was gone on with since.</p>'
    return (
        f'{before}<div class="card scroll"><table><thead><tr><th>PSNR in dB on {report["validation_frames"]} held-out '
        f'frames (protocol val-v1)</th><th>raw</th><th>matched</th><th class="text">raw</th></tr></thead>'
        f"<tbody>{lines}</tbody></table></div>"
    )


def _curves(metrics: Metrics, report: Mapping[str, Any]) -> str:
    marks = {} if metrics.switch is None else {"stage 2": float(metrics.switch)}
    charts: dict[str, list[str]] = defaultdict(list)
    left = {key: points for key, points in metrics.curves.items() if key != STAGE}
    for key in [*(key for key in TITLES if key in left), *sorted(left)]:
        if key not in left:
            continue  # drawn with another
        keys = [key]
        if group := next((pattern for pattern in _TOGETHER if pattern.fullmatch(key)), None):
            keys = [other for other in sorted(left) if group.fullmatch(other)]
        section, _, name = key.partition("/")
        title, unit = TITLES.get(key, ("Parts of the loss" if len(keys) > 1 else name.replace("_", " "), ""))
        factor = 100.0 if unit == "%" else 1.0
        curves = {
            other.partition("/")[2]: [(step, factor * value) for step, value in left.pop(other)] for other in keys
        }
        levels = _baselines(report) if key == "val/psnr" else {}
        title = f"{SECTIONS.get(section, section)}: {title}"
        chart = line_chart(title, curves, unit, key.startswith(("train/loss", "stages/rate")), levels, marks)
        charts[section].append(chart)
    order = [*SECTIONS, *sorted(set(charts) - set(SECTIONS))]
    drawn = "".join(chart for section in order for chart in charts[section])
    return f'<div class="charts">{drawn}</div>' if drawn else ""


def _panels(folder: Path) -> str:
    """Each round of panels, the newest first; without scripts all are seen."""
    rounds = [path for path in reversed(rounds_of_panels(folder)) if any(path.rglob("*.png"))]
    if not rounds:
        return ""
    blocks = []
    for path in rounds:
        figures = read_json(path / "figures.json")
        facts = [f"epoch {figures['epoch']}, step {figures['step']:,}, stage {figures['stage']}"] if figures else []
        title = ", ".join(facts) or path.name
        frames = "".join(_panels_of(folder, path, frame, figures) for frame in _frames_of(path))
        blocks.append(f'<div class="round" data-title="{escape(title)}">{frames}</div>')
    control = (
        '<div class="card rounds"><button type="button">earlier</button>'
        f'<input id="round" type="range" min="0" max="{len(rounds) - 1}" step="1" aria-label="round of panels">'
        '<button type="button">later</button><output></output></div>'
    )
    return control + "".join(blocks)


def _frames_of(path: Path) -> list[str]:
    """Frames of a round: by their sheet, or their folder of panels."""
    return sorted(
        {picture.stem for picture in path.glob("*.png")} | {each.name for each in path.iterdir() if each.is_dir()}
    )


def _panels_of(folder: Path, path: Path, frame: str, figures: Mapping[str, Any]) -> str:
    sheet = path / f"{frame}.png"
    link = f' <a href="{_url(folder, sheet)}">all in one picture</a>' if sheet.is_file() else ""
    pictures = sorted((path / frame).glob("*.png"), key=lambda each: (_place(each.stem), each.stem))
    numbers = _within(figures, "frames", frame) or {}
    shown = "".join(_picture(folder, each, _numbers(numbers.get(each.stem))) for each in pictures or [sheet])
    return f'<h3>{escape(frame)}{link}</h3><div class="panels">{shown}</div>'


def _place(name: str) -> int:
    return _PANELS.index(name) if name in _PANELS else len(_PANELS)


def _numbers(figures: Mapping[str, float | None] | None) -> str:
    values = ((name, value) for name, value in (figures or {}).items() if value is not None)
    return ", ".join(f"{name} {number_text(value)}" for name, value in values)


def _picture(folder: Path, path: Path, note: str = "") -> str:
    name = path.stem.replace("_", " ")
    small = f" <small>{escape(note)}</small>" if note else ""
    return (
        f'<figure><figcaption>{escape(name)}{small}</figcaption><a href="{_url(folder, path)}">'
        f'<img loading="lazy" src="{_url(folder, path)}" alt="{escape(name)}"></a></figure>'
    )


def _url(folder: Path, path: Path) -> str:
    return quote(path.relative_to(folder).as_posix())


def _frames(scores: Sequence[Mapping[str, str]]) -> str:
    """The newest validation frame by frame, with how each one's PSNR came there."""
    if not scores:
        return ""
    metrics = [name for name in scores[0] if name not in ("epoch", "step", "stage", "frame", "scene")]
    newest = scores[-1]
    tracked = metrics[0] if metrics else None
    history: dict[str, list[float]] = defaultdict(list)
    for row in scores:
        if tracked is not None:
            history[row["frame"]].append(_float(row[tracked]))
    head = _heads(["frame", "scene"], "text") + _heads([_metric(name) for name in metrics])
    if tracked is not None:
        head += _heads(["since the first validation"]) + "<th>over the run</th>"
    lines = []
    for row in (row for row in scores if row["step"] == newest["step"]):
        cells = f'<td class="text">{escape(row["frame"])}</td><td class="text">{escape(row["scene"])}</td>'
        cells += "".join(_cell(_float(row[name])) for name in metrics)
        if tracked is not None:
            past = history[row["frame"]]
            cells += _cell(past[-1] - past[0], "+") + f"<td>{sparkline(past)}</td>"
        lines.append(f"<tr>{cells}</tr>")
    return (
        f"<p class=about>Validation after epoch {int(newest['epoch']) + 1}, step {int(newest['step']):,}; "
        "a click on a title sorts.</p>"
        f'<div class="card scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'
    )


def _metric(name: str) -> str:
    title, unit = TITLES.get(f"val/{name}", (name.replace("_", " "), ""))
    return f"{title.removesuffix(', less is better')}{f', {unit}' if unit else ''}"


def _heads(titles: Iterable[str], kind: str = "") -> str:
    return "".join(
        f'<th scope="col" class="{kind}"><button type="button">{escape(title)}</button></th>' for title in titles
    )


def _cell(value: float, sign: str = "") -> str:
    text = format(value, f"{sign}.2f") if math.isfinite(value) else "-"
    return f'<td data-value="{value}">{text}</td>'


def _float(text: str) -> float:
    return float(text) if text else math.nan


def _pictures(folder: Path) -> str:
    shown = (
        f'<figure class="picture"><figcaption>{escape(path.stem)}</figcaption><a href="{_url(folder, path)}">'
        f'<img loading="lazy" src="{_url(folder, path)}" alt="input, baseline, prediction and truth of '
        f'{escape(path.stem)}, with error maps"></a></figure>'
        for path in sorted((folder / "pictures").glob("*.png"))
    )
    return "".join(shown)


def _configuration(folder: Path) -> str:
    text = (folder / CONFIG_NAME).read_text(encoding="utf-8")
    return f'<details><summary>{CONFIG_NAME}</summary><pre class="card">{escape(text)}</pre></details>'
