"""What a run says when it starts and when it ends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pytorch_lightning import Trainer
from pytorch_lightning.loggers import Logger, WandbLogger

from callbacks.run_report import BASELINES
from zoo.fit.schedule import epoch_batches
from zoo.nets import Discriminator
from zoo.optim import Rate
from zoo.runs import CONFIG_NAME

if TYPE_CHECKING:
    from zoo.fit.configuration import FitCLI

_ORACLE = "bicubic+oracle"  # it knows the curve, so it is no rival
_OPENING_WIDTH, _CLOSING_WIDTH = 10, 9


def opening(cli: FitCLI, checkpoint: Path | None) -> str:
    """What is about to run, a line for each subject. For the first process, after ``cli.begin()``.

    Args:
        cli: the run.
        checkpoint: what the run goes on from.
    """
    trainer, model, data = cli.trainer, cli.model, cli.datamodule
    options = cli.config.model.init_args
    rows = [("network", f"{model.model_name}, {_parameters(model.net)} parameters")]
    discriminators = {name: part for name, part in model.named_children() if isinstance(part, Discriminator)}
    rows += [("", f"{name}, {_parameters(part)} parameters, in stage 2") for name, part in discriminators.items()]
    rows.append(("loss", _loss(options)))
    average = "" if cli.config.average is None else f"; weights averaged with decay {cli.config.average:g}"
    rows.append(("optimiser", options.optimizer + average))
    batches = epoch_batches(trainer, data)
    rows += _stages(model, trainer, cli.config.stage.epoch, ceil(batches / model.accumulate), data.crops.sizes)
    rows += _data(data, trainer.world_size)
    effective = data.batch_size * trainer.world_size * model.accumulate
    rows.append(
        (
            "batch",
            f"{effective} = {data.batch_size} a rank x {trainer.world_size} rank{'s' * (trainer.world_size > 1)} "
            f"x {model.accumulate} accumulated",
        )
    )
    nodes = f", {trainer.num_nodes} machines" if trainer.num_nodes > 1 else ""
    rows.append(("precision", f"{trainer.precision} on {_device(trainer)}{nodes}"))
    rows.append(("run", f"{cli.run_dir}, its configuration in {CONFIG_NAME}"))
    rows += [("" if index else "logs", _destination(each)) for index, each in enumerate(trainer.loggers)]
    if checkpoint is not None:
        state = torch.load(checkpoint, map_location="cpu", mmap=True, weights_only=True)
        rows.append(("goes on", f"from {checkpoint}: epoch {state['epoch']}, step {state['global_step']}"))
        rows += [("" if index else "changed", change) for index, change in enumerate(cli.changes())]
    return _table(rows, _OPENING_WIDTH)


def closing(cli: FitCLI) -> str:
    """What has come of a run, and what to type next. For the first process, after the report."""
    assert cli.report is not None
    assert cli.run_dir is not None
    report = cli.report.report
    rows = [("look", str(page))] if (page := cli.run_dir / "index.html").is_file() else []
    rows.append(("use", f'zoo.load("{report["model"]}", weights="{report["weights"]}")'))
    trainer = cli.trainer
    if not trainer.is_last_batch or trainer.current_epoch < (trainer.max_epochs or 0):
        what = "trainer.max_steps" if trainer.global_step == trainer.max_steps else "trainer.max_time, or a callback,"
        rows.append(("ended", f"by {what} at step {trainer.global_step}, before the end of trainer.max_epochs"))
        rows.append(("go on", "the same command with --ckpt_path last, and more of it"))
    else:
        # A rate that has fallen to its floor and rises again does worse than a new start from the weights.
        rows.append(("go on", f"a new run with --model.weights {report['weights']} --run_dir ANOTHER"))
    verdict = _verdict(report)
    return "\n".join([cli.report.text(), *([verdict] if verdict else []), _table(rows, _CLOSING_WIDTH)])


def _table(rows: list[tuple[str, str]], width: int) -> str:
    return "\n".join(f"{name:<{width}}  {text}" for name, text in rows)


def _parameters(part: Any) -> str:
    return f"{sum(p.numel() for p in part.parameters()):,}"


def _loss(options: Any) -> str:
    """The loss by the module's arguments."""
    if "loss" in options:
        return str(options.loss)
    return (
        f"mse; in stage 2 {options.lambda_rec:g} x mse + {options.lambda_adv:g} x adversarial + "
        f"{options.lambda_fm:g} x feature matching, D2's part in both x {options.lambda_d:g}"
    )


def _stages(
    model: Any, trainer: Trainer, switch: int | None, per_epoch: int, crops: tuple[int, ...]
) -> Iterator[tuple[str, str]]:
    """Each stage's epochs, updates, crops and rates."""
    last = trainer.max_epochs if trainer.max_epochs is not None and trainer.max_epochs >= 0 else None
    bounds = [(0, last)] if switch is None else [(0, switch), (switch, last)]
    steps = trainer.max_steps if trainer.max_steps >= 0 else None
    for stage, ((first, end), rate) in enumerate(zip(bounds, model.rates, strict=True), start=1):
        name = f"stage {stage}" if len(bounds) > 1 else "epochs"
        if end == first:
            yield name, "left out"
            continue
        begin = first * per_epoch
        stops = [stop for stop in (None if end is None else end * per_epoch, steps) if stop is not None]
        updates = f"{max(0, min(stops) - begin):,} updates" if stops else "no end"
        epochs = f"epochs {first} to {'...' if end is None else end - 1}"
        crop = crops[min(stage, len(crops)) - 1]
        yield name, f"{epochs}, {updates}, HR crops of {crop}, rate {_rate(rate)}"


def _rate(rate: Rate) -> str:
    text = f"{rate.peak:g} {rate.shape}"
    if rate.at:
        text += f" x {rate.factor:g} at {', '.join(f'{share:.3g}' for share in rate.at)} of it"
    return text + (f" after a warm-up of {rate.warmup}" if rate.warmup else "")


def _data(data: Any, ranks: int) -> Iterator[tuple[str, str]]:
    """Each set, and what is made of them."""
    for root, each in zip(data.roots, data.sets, strict=True):
        manifest = each.manifest
        samples = f"{manifest.samples('train'):,} training samples"
        yield "data", f"{root}: {samples}, scale {manifest.scale}, preset {manifest.preset}"
    changes = ["crops"] + ["flips and turns"] * data.turns
    changes += [f"exposure by up to {data.exposure_jitter:g} stops"] * bool(data.exposure_jitter)
    changes += ["hue"] * data.hue_jitter
    frames = len(data.val_dataloader().dataset)
    held_out = f"{frames} frames{' a rank' * (ranks > 1)}" if frames else "none"
    yield "", f"at random: {', '.join(changes)}; validation: {held_out}"


def _device(trainer: Trainer) -> str:
    device = trainer.strategy.root_device
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _destination(run: Logger) -> str:
    """Where a logger's records go, and what to do with them."""
    name = type(run).__name__.removeprefix("Guarded").removesuffix("Logger")
    if isinstance(run, WandbLogger):
        session = run.experiment
        if session.offline:
            return f"W&B, offline; later: wandb sync {Path(session.dir).parent}"
        return f"W&B, {session.url}"
    return f"{name}, {run.log_dir or run.save_dir}"


def _verdict(report: Mapping[str, Any]) -> str | None:
    """The weights beside the best static converter."""
    after = report["psnr_after"]
    rivals = {
        name: scores["raw"]
        for name, scores in report["baselines"].items()
        if name in BASELINES and name != _ORACLE and scores["raw"] is not None
    }
    if after is None or not rivals:
        return None
    best = max(rivals, key=rivals.__getitem__)
    difference = after - rivals[best]
    side = "above" if difference >= 0 else "below"
    return f"The weights are {abs(difference):.2f} dB {side} the best static converter, {best} (raw)."
