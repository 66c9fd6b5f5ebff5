"""Pictures of the frames on which a model is worst."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from torch import Tensor

from zoo.errors import DataError
from zoo.evaluation.models import EvaluatedModel, load_model, parse_model
from zoo.evaluation.report import Evaluation, ModelResult, resolve_device
from zoo.evaluation.running import PRECISIONS, Row, Scorer
from zoo.evaluation.sets import EvaluationFrame
from zoo.metrics import Suite, delta_e_itp_map
from zoo.pictures import Panel, hdr_panel, sdr_panel, sheet, write_png

DELTA_E_SCALE = 60
"""Delta E ITP at the upper end of the map's colours, of all models and sets."""

_WIDEST = 960  # pixels of a panel: larger pictures are reduced
_BAR = 14  # pixels of the scale of colours


def draw_worst(evaluation: Evaluation, count: int) -> list[Path]:
    """Write input, prediction, truth and map of delta E ITP of each model's worst frames by the first metric.

    They take the place of those that an earlier evaluation left in the folder.

    Returns:
        The files, the worst first, model by model.
    """
    folder = evaluation.request.output / "worst"
    remove_pictures(folder)
    metric = evaluation.request.metrics[0]
    device = resolve_device(evaluation.request.device)
    paths = []
    for number, model in enumerate(evaluation.models, 1):
        if not (worst := _worst(evaluation, model, metric, count)):
            continue
        dtype = PRECISIONS[evaluation.request.precision][0]
        loaded = load_model(parse_model(model.label), evaluation.scale, device, dtype)
        scorer = Scorer(Suite([metric]), device, evaluation.request.precision)
        for place, row in enumerate(worst, 1):
            if (frame := _frame(evaluation, row)) is not None:
                # The number, since paths of two models may become one name.
                name = re.sub(r"[^\w.+-]+", "_", f"{number}-{model.label}-{place}-{row.frame}")
                path = folder / f"{name}.png"
                score = f"{metric} {row.scores[metric]:.4g}"
                write_png(path, _sheet(scorer, loaded, frame, score))
                paths.append(path)
    return paths


def remove_pictures(folder: Path) -> None:
    """Remove the PNG files that lie in a folder of pictures."""
    for path in folder.glob("*.png"):
        path.unlink()


def _worst(evaluation: Evaluation, model: ModelResult, metric: str, count: int) -> list[Row]:
    sign = 1 if metric in evaluation.better_high else -1
    return sorted(model.rows, key=lambda row: sign * row.scores[metric])[:count]


def _frame(evaluation: Evaluation, row: Row) -> EvaluationFrame | None:
    item = next(item for item in evaluation.frames.items if item.name == row.item)
    _, found = next(iter(evaluation.frames.read([item])))
    if isinstance(found, DataError):  # it could be read before; no picture is worth the table
        return None
    return next(frame for frame in found if frame.key == row.frame)


def _sheet(scorer: Scorer, model: EvaluatedModel, frame: EvaluationFrame, score: str) -> np.ndarray:
    preds = scorer.predict(model, frame.sdr).cpu()
    difference = delta_e_itp_map(preds.float(), frame.hdr[None])[0, 0]
    scale = frame.hdr.shape[-1] // frame.sdr.shape[-1]
    panels = {
        f"input SDR {frame.sdr.shape[-1]}x{frame.sdr.shape[-2]}": sdr_panel(frame.sdr, scale),
        f"{model.label}: {score}": hdr_panel(preds[0]),
        "truth": hdr_panel(frame.hdr),
        f"delta E ITP, mean {difference.mean():.3g}; colours 0 to {DELTA_E_SCALE}+": _difference_panel(difference),
    }
    return sheet({title: _reduced(panel) for title, panel in panels.items()})


def side_by_side(sdr: Tensor, predictions: Mapping[str, Tensor], truth: Tensor | None = None) -> np.ndarray:
    """Input, predictions and truth, HDR by the one fixed curve of ``zoo.pictures``.

    Args:
        sdr: ``(3, h, w)``, code / 255.
        predictions: by title, each ``(3, s h, s w)``, code / 1023.
        truth: ``(3, s h, s w)``, code / 1023; None where there is none.

    Returns:
        One picture, uint8, sRGB.
    """
    scale = next(iter(predictions.values())).shape[-1] // sdr.shape[-1]
    panels = {f"input SDR {sdr.shape[-1]}x{sdr.shape[-2]}": sdr_panel(sdr, scale)}
    panels |= {title: hdr_panel(prediction) for title, prediction in predictions.items()}
    if truth is not None:
        panels["truth"] = hdr_panel(truth)
    return sheet({title: _reduced(panel) for title, panel in panels.items()})


def _difference_panel(difference: Tensor) -> Panel:
    """On one scale for all methods, drawn below."""
    x = difference.float().numpy()
    bar = np.broadcast_to(np.linspace(0, 1, x.shape[1], dtype=np.float32), (_BAR, x.shape[1]))
    levels = (255 * np.vstack([(x / DELTA_E_SCALE).clip(0, 1), bar])).astype(np.uint8)
    picture = cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    return Panel(picture, {"mean": float(x.mean()), "max": float(x.max())})


def _reduced(panel: Panel) -> Panel:
    height, width = panel.picture.shape[:2]
    if width <= _WIDEST:
        return panel
    size = (_WIDEST, round(height * _WIDEST / width))
    return panel._replace(picture=cv2.resize(panel.picture, size, interpolation=cv2.INTER_AREA))
