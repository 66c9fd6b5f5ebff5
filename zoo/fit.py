"""Training from configuration files: ``python tools/fit.py --config FILE [--key value ...]``."""

from __future__ import annotations

import difflib
import inspect
import json
import logging
import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, Literal

import yaml

from zoo._torchvision import ensure_torchvision

ensure_torchvision()

import torch  # noqa: E402
from jsonargparse import ArgumentError  # noqa: E402
from pytorch_lightning import Trainer  # noqa: E402
from pytorch_lightning.callbacks import ModelCheckpoint, TQDMProgressBar  # noqa: E402
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI  # noqa: E402
from pytorch_lightning.loggers import CSVLogger, Logger, WandbLogger  # noqa: E402
from pytorch_lightning.utilities import rank_zero_only  # noqa: E402
from pytorch_lightning.utilities.exceptions import MisconfigurationException  # noqa: E402

from callbacks import PublishWeights, RunReport, StageSwitch, WeightAverage  # noqa: E402
from datamodules import SRITMDataModule  # noqa: E402
from zoo.budget import StepTimer, plan  # noqa: E402
from zoo.errors import ConfigError, ZooError  # noqa: E402
from zoo.modules import SRITMModule  # noqa: E402
from zoo.runs import claim_run_dir, find_checkpoint, find_config  # noqa: E402

logger = logging.getLogger(__name__)

# What rank 0 decided before it started the others: they run the same command and must decide the same.
_DECIDED = "SRITM_FIT_DECIDED"
# Said once at the source; a value at the target would be overwritten without a word.
_LINKS = {
    "scale": ("model.init_args.scale", "data.scale"),
    "stage.epoch": ("data.stage_epoch",),
    "seed_everything": ("data.seed",),
}
_PROBE_STEPS = {1: 8, 2: 4}  # of each stage, the first of which isn't timed
_REFUSED = {
    "trainer.accumulate_grad_batches": "use model.accumulate, which works in manual optimisation too",
    "trainer.gradient_clip_val": "use model.clip_norm, which works in manual optimisation too",
}


class FitCLI(LightningCLI):
    """The parser of ``fit``, and the objects of a run built from it.

    Args:
        args: the command line.
        probe: build the trainer for timing alone: nothing is logged, saved or reported.
    """

    def __init__(self, args: Sequence[str], probe: bool = False) -> None:
        self.probe = probe
        self.run_dir: Path | None = None
        super().__init__(
            SRITMModule,
            SRITMDataModule,
            save_config_callback=None,
            subclass_mode_model=True,
            run=False,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
            seed_everything_default=0,
            trainer_defaults={"use_distributed_sampler": False, "num_sanity_val_steps": 0, "logger": None},
            parser_kwargs={
                "prog": "fit",
                "description": "Train a network; every key of a config file can be given as --key value too.",
                "allow_abbrev": False,
                "exit_on_error": False,
            },
            args=list(args),
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the keys that aren't an argument of one class, and say which follow from which."""
        parser.add_argument("--scale", type=Literal[1, 2, 4], default=2, help="HR over LR size, of network and data.")
        parser.add_argument(
            "--run_dir",
            type=str | None,
            default=None,
            help="The run's folder; runs/CONFIG by default. NAME-N takes the next free number.",
        )
        parser.add_argument(
            "--ckpt_path", type=str | None, default=None, help="Go on from a checkpoint file, or from the run's last."
        )
        parser.add_argument(
            "--best",
            type=str | None,
            default=None,
            help="Metric that picks the weights to publish, or last; the module's own by default.",
        )
        parser.add_argument(
            "--average",
            type=float | None,
            default=None,
            help="Decay of the average of the weights that is validated and published; none by default.",
        )
        parser.add_argument(
            "--budget",
            type=float | None,
            default=None,
            help="Minutes to train: times a few steps, then sets stage.epoch and trainer.max_epochs.",
        )
        parser.add_lightning_class_args(StageSwitch, "stage")
        for source, targets in _LINKS.items():
            for target in targets:
                parser.link_arguments(source, target)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse, and turn the parser's nested messages into one line."""
        try:
            self.config = parser.parse_args(args)
        except ArgumentError as error:
            raise ConfigError(_explain(error, [action.dest for action in parser._actions])) from error

    def before_instantiate_classes(self) -> None:
        """Refuse what can't run, and write out what was left to us."""
        trainer = self.config.trainer
        for key, instead in _REFUSED.items():
            if self.config.get(key) not in (None, 1):
                raise ConfigError(f"{key} isn't taken here: {instead}")
        _check_devices(trainer.accelerator, trainer.devices)
        if trainer.precision is None:
            trainer.precision = "bf16-mixed" if _has_bf16(trainer.accelerator) else "32-true"
        ranks = _count(trainer.devices, trainer.accelerator) * trainer.num_nodes
        if trainer.strategy == "auto" and ranks > 1:
            # The GAN's optimisers and the modulation leave parameters without a gradient.
            trainer.strategy = "ddp_find_unused_parameters_true"

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """A trainer with what every run has; a bare one for timing."""
        stage = self.config_init.stage
        average = [WeightAverage(self.config.average)] if self.config.average is not None else []
        if self.probe:
            self.timer = StepTimer()
            quiet = {
                "logger": False,
                "enable_checkpointing": False,
                "enable_progress_bar": False,
                "enable_model_summary": False,
                "max_time": None,
            }
            return self._instantiate_trainer(
                {**self.config_init.trainer, **quiet, "callbacks": [stage, *average, self.timer]}, []
            )
        self.run_dir = self._claim()
        self.report = RunReport(self.run_dir)
        callbacks = [
            stage,
            *average,
            ModelCheckpoint(self.run_dir / "checkpoints", filename="{epoch}-{step}", save_last=True),
            PublishWeights(self.run_dir, self.config.best),
            self.report,
        ]
        config = {**self.config_init.trainer, **kwargs}
        if config["enable_progress_bar"] is not False:
            callbacks.append(TQDMProgressBar(refresh_rate=5))
        if config["logger"] in (None, True):
            config["logger"] = list(_loggers(self.run_dir))
        config["callbacks"] = [*(config["callbacks"] or []), *callbacks]
        return self._instantiate_trainer({**config, "default_root_dir": self.run_dir}, [])

    def _claim(self) -> Path:
        decided = json.loads(os.environ.get(_DECIDED, "{}"))
        if "run_dir" in decided:
            return Path(decided["run_dir"])
        run_dir = (
            self.config.run_dir or f"runs/{Path(self.config.config[-1].relative).stem if self.config.config else 'run'}"
        )
        path = claim_run_dir(run_dir, self.config.ckpt_path is not None)
        os.environ[_DECIDED] = json.dumps({**decided, "run_dir": str(path)})
        return path


def _explain(error: ArgumentError, keys: Sequence[str]) -> str:
    """One line of what the parser says in many: the key, what is wrong with it, and what it may have meant."""
    text = str(error)
    if match := re.match(r"unrecognized arguments: --([^ =]+)", text):
        near = difflib.get_close_matches(match[1], keys, n=1)
        return f"there is no option --{match[1]}; " + (f"did you mean --{near[0]}?" if near else "see --help")
    if "arguments are required: model" in text:
        return "nothing to train: give a recipe with --config (configs/sample.yaml is the smallest)"
    key = match[1] if (match := re.match(r'Parser key "([^"]+)"', text)) else "the configuration"
    if match := re.search(r"Problem with given class_path '([^']+)':\s+Option '([^']+)' is not accepted", text):
        known = list(inspect.signature(resolve_name(match[1])).parameters)
        near = difflib.get_close_matches(match[2], known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"it takes {', '.join(known)}"
        return f"{key}: {match[1].rpartition('.')[2]} has no option {match[2]!r}; {hint}"
    if match := re.search(r"does not accept (?:nested key|option) '([^']+)'", text):
        near = difflib.get_close_matches(match[1], [k.rpartition(".")[2] for k in keys], n=1)
        return f"{key} has no option {match[1]!r}; " + (f"did you mean {near[0]}?" if near else "see --help")
    lines = [line.strip(" -") for line in text.splitlines()[0 if key == "the configuration" else 1 :]]
    return f"{key}: {next((line for line in lines if line), text)}"


def _count(devices: Any, accelerator: str) -> int:
    """Processes on this machine that ``devices`` asks for."""
    if isinstance(devices, str) and devices not in ("auto", "-1"):
        devices = devices.split(",") if "," in devices else int(devices)
    if isinstance(devices, (list, tuple)):
        return len(devices)
    if devices in ("auto", "-1", -1):
        return max(1, torch.cuda.device_count()) if accelerator in ("auto", "gpu", "cuda") else 1
    return devices


def _check_devices(accelerator: str, devices: Any) -> None:
    count, gpus = _count(devices, accelerator), torch.cuda.device_count()
    if accelerator in ("gpu", "cuda") and not gpus:
        raise ConfigError(
            f"--trainer.accelerator {accelerator}: torch sees no GPU here; use cpu, or install a torch built for it"
        )
    if accelerator == "auto" and not gpus and count > 1 and not torch.backends.mps.is_available():
        raise ConfigError(
            f"--trainer.devices {count}, but torch sees no GPU here: leave it out to train in one process, "
            f"or add --trainer.accelerator cpu for {count} processes"
        )
    if accelerator in ("auto", "gpu", "cuda") and 0 < gpus < count:
        raise ConfigError(f"--trainer.devices {count}, but torch sees {gpus} GPU{'s' * (gpus > 1)} here")


def _has_bf16(accelerator: str) -> bool:
    """Whether bfloat16 is done in hardware; elsewhere it is emulated, and slower than float32."""
    if accelerator != "cpu" and torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if accelerator in ("mps", "tpu") or (accelerator == "auto" and torch.backends.mps.is_available()):
        return False
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def _is_rank_zero() -> bool:
    return getattr(rank_zero_only, "rank", 0) == 0


def _loggers(run_dir: Path) -> Iterator[Logger]:
    """W&B, offline without an account, and plain CSV. W&B never blocks a run."""
    yield CSVLogger(run_dir, name="", version="csv")
    key = os.environ.get("WANDB_API_KEY") or (Path.home() / ".netrc").exists()
    mode = os.environ.get("WANDB_MODE", "online" if key else "offline")
    try:
        wandb = WandbLogger(name=run_dir.name, save_dir=run_dir, project="sritm-zoo", offline=mode == "offline")
        if _is_rank_zero():
            _ = wandb.experiment  # starts the run now, where a failure can be met
        yield wandb
    except Exception as error:  # whatever goes wrong with the dashboard, training goes on
        logger.warning("W&B is off for this run (%s); scalars are in %s", error, run_dir / "csv")


def _flatten(mapping: Any, prefix: str = "") -> Iterator[str]:
    for key, value in (mapping or {}).items():
        yield f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")


def _check_link_targets(args: Sequence[str]) -> None:
    """Refuse values given where they would be overwritten by the key that they follow from."""
    given = {arg.removeprefix("--").partition("=")[0]: "the command line" for arg in args if arg.startswith("--")}
    for path in _config_paths(args):
        given |= dict.fromkeys(_flatten(yaml.safe_load(path.read_text())), str(path))
    for source, targets in _LINKS.items():
        for target in targets:
            for spelling in (target, target.replace(".init_args", "")):
                if spelling in given:
                    raise ConfigError(f"{spelling} in {given[spelling]}: it follows from {source}; set that instead")


def _config_paths(args: Sequence[str]) -> list[Path]:
    pairs = zip(args, [*args[1:], ""], strict=True)
    names = [
        arg.partition("=")[2] or following for arg, following in pairs if arg.partition("=")[0] in ("--config", "-c")
    ]
    return [find_config(name) for name in names]


def _with_config_paths(args: Sequence[str]) -> list[str]:
    """The command line with each config's name replaced by its path."""
    paths = iter(_config_paths(args))
    found: list[str] = []
    skip = False
    for arg in args:
        if skip:
            skip = False
            continue
        if arg.partition("=")[0] in ("--config", "-c"):
            found += ["--config", str(next(paths))]
            skip = "=" not in arg
        else:
            found.append(arg)
    return found


def _plan(cli: FitCLI, args: Sequence[str]) -> list[str]:
    """The budget of ``cli`` as arguments: ``stage.epoch`` and ``trainer.max_epochs``, timed on this machine."""
    decided = json.loads(os.environ.get(_DECIDED, "{}"))
    if "plan" not in decided:
        validation = 0.0

        def probe(stage: int) -> tuple[float, int]:
            nonlocal validation
            switch = {} if cli.model.stages == 1 else {"--stage.epoch": 2 - stage}
            steps = _PROBE_STEPS[stage]
            options = switch | {"--trainer.max_epochs": 2, "--trainer.max_steps": steps, "--trainer.devices": 1}
            timing = FitCLI([*args, *_as_arguments(options)], probe=True)
            timing.trainer.fit(timing.model, timing.datamodule)
            if stage == 1:
                start = time.perf_counter()
                timing.trainer.validate(timing.model, timing.datamodule, verbose=False)
                validation = time.perf_counter() - start
            return timing.timer.step, timing.timer.batches

        every = cli.config.trainer.check_val_every_n_epoch or 1
        chosen = plan(cli.config.budget, cli.model.stages, probe, lambda: validation, every)
        options = {"--trainer.max_epochs": chosen.max_epochs}
        if chosen.stage_epoch is not None:
            options["--stage.epoch"] = chosen.stage_epoch
        decided["plan"] = _as_arguments(options)
        os.environ[_DECIDED] = json.dumps(decided)
    return decided["plan"]


def _as_arguments(options: dict[str, Any]) -> list[str]:
    return [f"{key}={value}" for key, value in options.items()]


@rank_zero_only
def _write_config(cli: FitCLI) -> None:
    assert cli.run_dir is not None
    config = cli.config.clone()
    config.budget = None
    config.run_dir = config.run_dir or str(cli.run_dir)
    config.ckpt_path = None
    text = cli.parser.dump(config, skip_link_targets=True, skip_none=False)
    (cli.run_dir / "config.yaml").write_text(text)


@rank_zero_only
def _say(text: str) -> None:
    print(text, flush=True)


def _summary(cli: FitCLI) -> str:
    """What is about to run, in a few lines."""
    trainer, model, data = cli.trainer, cli.model, cli.datamodule
    parameters = sum(p.numel() for p in model.net.parameters())
    epochs = "" if cli.config.stage.epoch is None else f" (stage 2 from epoch {cli.config.stage.epoch})"
    batch = f"{data.batch_size} a rank x {trainer.world_size} rank{'s' * (trainer.world_size > 1)}"
    rows = {
        "network": f"{model.model_name}, {parameters:,} parameters, {model.stages} stage{'s' * (model.stages > 1)}",
        "epochs": f"{trainer.max_epochs}{epochs}",
        "batch": f"{batch} x {model.accumulate} accumulated",
        "precision": f"{trainer.precision} on {type(trainer.accelerator).__name__.removesuffix('Accelerator')}",
        "data": str(data.root),
        "run": str(cli.run_dir),
    }
    return "\n".join(f"{name:>10}  {text}" for name, text in rows.items())


def _report(report: dict[str, Any]) -> str:
    """The end of a run as a table."""
    rows = [
        ("weights before", report["psnr_before"], None),
        ("weights after", report["psnr_after"], report["psnr_after_matched"]),
    ]
    rows += [(name, scores["raw"], scores["matched"]) for name, scores in report["baselines"].items()]
    lines = [
        f"PSNR in dB on {report['validation_frames']} held-out frames (protocol val-v1)",
        f"{'':20}{'raw':>9}{'matched':>9}",
    ]
    for name, *scores in rows:
        cells = "".join(f"{score:9.2f}" if score is not None else f"{'-':>9}" for score in scores)
        lines.append(f"{name:20}{cells}")
    speeds = ", ".join(
        f"{speed:.1f} in {stage.replace('_', ' ')}" for stage, speed in report["samples_per_second"].items()
    )
    lines += [
        f"{report['steps']} steps in {report['precision']}, samples per second: {speeds}",
        f"weights     {report['weights']}",
        f"checkpoint  {report['checkpoint']}",
        *(f"picture     {path}" for path in report["pictures"]),
    ]
    return "\n".join(lines)


def _run(args: list[str]) -> None:
    _check_link_targets(args)
    args = _with_config_paths(args)
    cli = FitCLI(args)
    if cli.config.budget is not None:
        _say("timing a few steps of each stage ...")
        cli = FitCLI([*args, *_plan(cli, args)])
    assert cli.run_dir is not None
    ckpt_path = None
    if cli.config.ckpt_path is not None:
        ckpt_path = str(find_checkpoint(cli.config.ckpt_path, cli.run_dir))
    _write_config(cli)
    _say(_summary(cli))
    cli.trainer.fit(cli.model, datamodule=cli.datamodule, ckpt_path=ckpt_path)
    if cli.report.report:
        _say(_report(cli.report.report))


def _one_line(error: BaseException) -> str:
    """What an exception says, without the traceback that a data worker puts before it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].partition("Error: ")[2] or lines[-1] if lines else type(error).__name__


def main(argv: Sequence[str] | None = None) -> int:
    """Train; see ``--help``.

    Returns:
        0; 2 after an error that the user can mend, said in one line.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        _run(list(sys.argv[1:] if argv is None else argv))
    except ZooError as error:
        print(f"error: {_one_line(error)}", file=sys.stderr)
        return 2
    except MisconfigurationException as error:
        print(f"error: {_one_line(error)}", file=sys.stderr)
        return 2
    return 0
