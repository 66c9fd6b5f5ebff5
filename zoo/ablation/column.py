"""One run of an ablation, in a process of its own: ``python -m zoo.ablation.column FOLDER``.

The folder holds the recipe; the run leaves its checkpoints, its logs and, at the end, its scores there. Begun again, it
goes on from its newest checkpoint.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Trainer
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from callbacks import PublishWeights, RunReport
from callbacks.stop_request import RunStopped
from zoo.ablation.tables import METRICS
from zoo.errors import ConfigError, ZooError, one_line
from zoo.files import write_json
from zoo.fit import FitCLI
from zoo.fit.dashboards import close
from zoo.metrics import Suite
from zoo.runs import CLAIMED, git_commit, has_checkpoint, release_run_dir

RECIPE_NAME = "recipe.yaml"
RESULT_NAME = "result.json"


def read_result(folder: Path) -> dict[str, Any] | None:
    """What a run came to; None before its end."""
    path = folder / RESULT_NAME
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def train_column(folder: Path) -> None:
    """Train by the folder's recipe, or go on with it, score the last weights, and write ``result.json``.

    Scored are the test frames of the set, or its validation frames if it has none of those, by ``METRICS``.

    Raises:
        ZooError: the recipe can't be run.
        RunStopped: a signal stopped it; what was done is saved.
    """
    start = time.monotonic()
    release_run_dir(folder)  # a start that was killed before its first checkpoint may have left its claim
    words = ["--config", str(folder / RECIPE_NAME), "--run_dir", str(folder)]
    cli = FitCLI([*words, "--ckpt_path=last"] if has_checkpoint(str(folder)) else words)
    cli.check()
    _check_epoch(cli)
    cli.begin()
    trainer: Trainer = cli.trainer
    # They score baselines again for each run, and publish under names of the zoo, which a toy network has none of.
    trainer.callbacks[:] = [each for each in trainer.callbacks if not isinstance(each, PublishWeights | RunReport)]  # type: ignore[attr-defined]
    try:
        with cli.config_init.checkpoint.stop:
            trainer.fit(cli.model, datamodule=cli.datamodule, ckpt_path=cli.checkpoint(), weights_only=True)
        result = _scored(cli)
        for each in trainer.loggers:
            each.log_metrics({f"{result['split']}/{name}": result[name] for name in METRICS}, trainer.global_step)
            each.save()
    finally:
        close(trainer.loggers)
        release_run_dir(folder)
        os.environ.pop(CLAIMED, None)
    result |= {
        "updates": trainer.global_step,
        "parameters": sum(p.numel() for p in cli.model.net.parameters()),
        "filter_parameters": sum(p.numel() for p in cli.model.net.parameters() if p.ndim == 4),
        "seconds": round(time.monotonic() - start, 1),  # of this start alone
        "data": cli.datamodule.digest,
        "device": str(trainer.strategy.root_device),
        "commit": git_commit(),
    }
    write_json(folder / RESULT_NAME, result)


def _check_epoch(cli: FitCLI) -> None:
    wanted, there = cli.config.trainer.limit_train_batches, len(cli.datamodule.train_dataloader())
    if there < wanted:
        raise ConfigError(
            f"the set has {there} batches of {cli.datamodule.batch_size}, an epoch of this budget {wanted}: "
            "give a smaller --batch or fewer --updates"
        )


@torch.no_grad()
def _scored(cli: FitCLI) -> dict[str, Any]:
    """Scores of the last weights on whole frames, in float32."""
    data, model, device = cli.datamodule, cli.model, cli.trainer.strategy.root_device
    split = "test" if data.sets[0].manifest.samples("test") else "val"
    data.setup("test" if split == "test" else "validate")
    net = model.net.to(device).eval()
    suite = Suite(METRICS).to(device)
    frames: dict[str, dict[str, float]] = {}
    for batch in data.test_dataloader() if split == "test" else data.val_dataloader():
        codes = {key: batch[key].to(device) for key in ("sdr", "hdr")}
        signals = model.on_after_batch_transfer({**batch, **codes}, 0)
        scores = suite.update(net(signals["sdr"]), signals["hdr"])
        for number, key in enumerate(batch["key"]):
            frames[key] = {name: float(score[number]) for name, score in scores.items()}
    if not frames:
        raise ConfigError("the set has no test or val frames to score on; make it with tools/make_shards.py --val")
    return {"split": split, **{name: float(mean) for name, mean in suite.compute().items()}, "frames": frames}


def main() -> int:
    """Train the column whose folder is given.

    Returns:
        0; 2 after an error that the user can mend, said in one line; 128 + the signal where one stopped the run.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    try:
        train_column(Path(sys.argv[1]))
    except RunStopped as stop:
        return int(str(stop.code))
    except (ZooError, MisconfigurationException) as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
