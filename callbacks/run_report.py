"""The report of a run: scores before and after beside the baselines', speed, and pictures."""

from __future__ import annotations

import json
import logging
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import nn

import zoo
from callbacks.speed import Speed
from zoo.metrics import PSNR, MatchedPSNR
from zoo.pictures import comparison, write_png
from zoo.run_files import REPORT_NAME
from zoo.run_page import write_page
from zoo.weights import WEIGHTS_NAME

logger = logging.getLogger(__name__)

BASELINES = ("bicubic+white100", "bicubic+white203", "bicubic+bt2446c", "bicubic+oracle")
PICTURED_BASELINE = "bicubic+bt2446c"


class RunReport(Callback):
    """Write ``report.json`` and ``pictures/`` into the run's folder when the run ends, and keep its page.

    The page, ``index.html`` (:mod:`zoo.run_page`), is written anew after each validation and each epoch, and at the
    end.

    Scores are those of protocol val-v1 on the whole validation set of the run, in float32, each frame once, whatever
    the number of ranks: ``psnr_before`` of the starting weights, ``psnr_after`` of ``weights.safetensors``, and the
    static baselines', raw and exposure-matched. A score is None without validation frames, and where it is no finite
    number, which JSON can't hold.

    Args:
        run_dir: the run's folder.
        pictures: how many validation frames are drawn, spread over the scenes.

    Attributes:
        report: what ``report.json`` holds, on every rank; empty before the end.
    """

    def __init__(self, run_dir: str | Path, pictures: int = 4) -> None:
        self.run_dir = Path(run_dir)
        self.pictures = pictures
        self.report: dict[str, Any] = {}
        self._before: float | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Score the starting weights."""
        if trainer.ckpt_path is None:
            self._before = _score(pl_module.net, trainer, pl_module, matched=False)[0]["raw"]

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the new scores on the page."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._write_page(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show new panels on the page."""
        self._write_page(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Show how far a stopped run came."""
        self._write_page(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Score the published weights and the baselines, draw, write. On every rank: scoring is shared."""
        trainer.strategy.barrier("weights")  # rank 0 has written them
        path = self.run_dir / WEIGHTS_NAME
        net = zoo.load(pl_module.model_name, weights=path, device=pl_module.device)
        after, frames = _score(net, trainer, pl_module, matched=True)
        baselines = {
            name: _score(zoo.create(name, scale=net.scale).to(pl_module.device), trainer, pl_module, matched=True)[0]
            for name in BASELINES
        }
        self.report = {
            "model": pl_module.model_name,
            "psnr_before": self._before,
            "psnr_after": after["raw"],
            "psnr_after_matched": after["matched"],
            "baselines": baselines,
            "validation_frames": frames,
            "steps": trainer.global_step,
            "precision": trainer.precision,
            "ranks": trainer.world_size,
            "samples_per_second": _samples_per_second(trainer),
            "weights": str(path),
            "checkpoint": _checkpoint(trainer),
            "pictures": [],
        }
        if trainer.is_global_zero:
            self.report["pictures"] = self._draw(net, trainer, pl_module)
            (self.run_dir / REPORT_NAME).write_text(json.dumps(self.report, indent=2, allow_nan=False) + "\n")
            self._write_page(trainer)

    def _write_page(self, trainer: Trainer) -> None:
        if not trainer.is_global_zero:
            return
        try:
            for run in trainer.loggers:
                run.save()  # the CSV file lags behind
            write_page(self.run_dir)
        except Exception as error:  # it reads what others write, and isn't worth a run
            logger.warning("no page of the run in %s (%s)", self.run_dir, error)

    def text(self) -> str:
        """The report as a table for the terminal."""
        report = self.report
        rows = [("weights before", report["psnr_before"], None)]
        rows.append(("weights after", report["psnr_after"], report["psnr_after_matched"]))
        rows += [(name, scores["raw"], scores["matched"]) for name, scores in report["baselines"].items()]
        if report["validation_frames"]:
            lines = [f"PSNR in dB on {report['validation_frames']} held-out frames (protocol val-v1)"]
            lines.append(f"{'':20}{'raw':>9}{'matched':>9}")
            for name, *scores in rows:
                lines.append(f"{name:20}" + "".join(f"{'-':>9}" if s is None else f"{s:9.2f}" for s in scores))
        else:
            lines = ["No validation: the data has no held-out frames. The weights are the run's last, without a score."]
        speeds = (f"{v:.1f} in {stage.replace('_', ' ')}" for stage, v in report["samples_per_second"].items())
        lines.append(f"{report['steps']} steps in {report['precision']}; samples per second: {', '.join(speeds)}")
        lines.append(f"weights     {report['weights']}")
        lines.append(f"checkpoint  {report['checkpoint']}")
        lines += [f"picture     {path}" for path in report["pictures"]]
        return "\n".join(lines)

    def _draw(self, net: nn.Module, trainer: Trainer, pl_module: LightningModule) -> list[str]:
        loader = trainer.datamodule.val_dataloader()  # type: ignore[attr-defined]
        frames = loader.dataset
        baseline = zoo.create(PICTURED_BASELINE, scale=net.scale)
        paths = []
        for index in range(0, len(frames), max(1, len(frames) // self.pictures))[: self.pictures]:
            batch = _on_device(loader.collate_fn([frames[index]]), pl_module)
            with torch.inference_mode():
                predictions = {
                    PICTURED_BASELINE: baseline(batch["sdr"].cpu())[0],
                    "prediction": net(batch["sdr"])[0].cpu(),
                }
            path = self.run_dir / "pictures" / f"{batch['key'][0]}.png"
            write_png(path, comparison(batch["sdr"][0].cpu(), predictions, batch["hdr"][0].cpu()))
            paths.append(str(path))
        return paths

    def state_dict(self) -> dict[str, Any]:
        """The score of the starting weights."""
        return {"before": self._before}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the first start's score."""
        self._before = state_dict["before"]


@torch.no_grad()
def _score(
    net: nn.Module, trainer: Trainer, pl_module: LightningModule, matched: bool
) -> tuple[dict[str, float | None], int]:
    """Scores of ``net`` on the run's validation frames, each rank its share, without autocast; and the frames."""
    metrics = {"raw": PSNR()} | ({"matched": MatchedPSNR()} if matched else {})
    metrics = {name: metric.to(pl_module.device) for name, metric in metrics.items()}
    training = net.training
    net.eval()
    for batch in trainer.datamodule.val_dataloader():  # type: ignore[attr-defined]
        batch = _on_device(batch, pl_module)
        preds = net(batch["sdr"])
        for metric in metrics.values():
            metric.update(preds, batch["hdr"])
    net.train(training)
    with metrics["raw"].sync_context():  # a rank alone knows its own share
        frames = int(metrics["raw"].frames)
    if not frames:
        return dict.fromkeys(metrics), 0
    scores = {name: float(metric.compute()) for name, metric in metrics.items()}
    return {name: score if isfinite(score) else None for name, score in scores.items()}, frames


def _on_device(batch: dict[str, Any], pl_module: LightningModule) -> dict[str, Any]:
    """A batch as the trainer hands it to a step."""
    codes = {key: batch[key].to(pl_module.device) for key in ("sdr", "hdr")}
    return pl_module.on_after_batch_transfer({**batch, **codes}, 0)


def _samples_per_second(trainer: Trainer) -> dict[str, float]:
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    speed = next((callback for callback in callbacks if isinstance(callback, Speed)), None)
    return {} if speed is None else {f"stage_{stage}": rate for stage, rate in speed.samples_per_second.items()}


def _checkpoint(trainer: Trainer) -> str | None:
    callback = trainer.checkpoint_callback
    return (getattr(callback, "last_model_path", "") or None) if callback is not None else None
