"""The configuration of a training run: its keys, what follows from what, and what is refused."""

from __future__ import annotations

import difflib
import inspect
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, Literal

import yaml
from jsonargparse import ArgumentError
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint, TQDMProgressBar
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI

from callbacks import PublishWeights, RunReport, StageSwitch, WeightAverage
from datamodules import SRITMDataModule
from zoo.errors import ConfigError, ZooError
from zoo.fit.budget import StepTimer
from zoo.fit.dashboards import loggers
from zoo.fit.hardware import fast_precision, resolve_accelerator
from zoo.modules import SRITMModule
from zoo.runs import claim_run_dir, find_config

# Said once at the source; the parser would overwrite a value at the target without a word.
_LINKS = {
    "scale": ("model.init_args.scale", "data.scale"),
    "stage.epoch": ("data.stage_epoch",),
    "seed_everything": ("data.seed",),
}
_REFUSED = {
    "trainer.accumulate_grad_batches": "use model.accumulate, which works in manual optimisation too",
    "trainer.gradient_clip_val": "use model.clip_norm, which works in manual optimisation too",
}
_OWN_KEYS = {
    "run_dir": (str, "The run's folder, runs/CONFIG by default; a name that ends in -N takes the next free number."),
    "ckpt_path": (str, "Go on from a checkpoint: a file, or last."),
    "best": (str, "What picks the weights to publish: a logged metric, or last. The module's own by default."),
    "average": (float, "Decay of the average of the weights that is validated and published; none by default."),
    "budget": (float, "Minutes to train: a few steps are timed, then stage.epoch and trainer.max_epochs set."),
}


class FitCLI(LightningCLI):
    """Parses a command line and builds trainer, module and data of a run.

    Args:
        args: the command line, without the program's name.
        probe: build a bare trainer for timing: nothing is logged, saved or reported, and no folder is made.

    Attributes:
        run_dir: the run's folder; None for a probe.
        report: the callback that reports; None for a probe.
        timer: the callback that times; None but for a probe.

    Raises:
        ConfigError: whatever is wrong with the configuration, in one line.
    """

    def __init__(self, args: Sequence[str], probe: bool = False) -> None:
        self.run_dir: Path | None = None
        self.report: RunReport | None = None
        self.timer = StepTimer() if probe else None
        _check_link_targets(args)
        super().__init__(
            SRITMModule,
            SRITMDataModule,
            save_config_callback=None,
            subclass_mode_model=True,
            run=False,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
            seed_everything_default=0,
            # The data module divides the samples among ranks, and RunReport scores the starting weights.
            trainer_defaults={"use_distributed_sampler": False, "num_sanity_val_steps": 0, "logger": None},
            parser_kwargs={
                "prog": "fit",
                "description": "Train a network. Every key of a config file can be given as --key value too.",
                "allow_abbrev": False,
                "exit_on_error": False,
            },
            args=_with_config_paths(args),
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the keys that are no argument of one class, and say which follow from which."""
        parser.add_argument("--scale", type=Literal[1, 2, 4], default=2, help="HR over LR size, of network and data.")
        for key, (kind, text) in _OWN_KEYS.items():
            parser.add_argument(f"--{key}", type=kind | None, default=None, help=text)
        parser.add_lightning_class_args(StageSwitch, "stage")
        for source, targets in _LINKS.items():
            for target in targets:
                parser.link_arguments(source, target)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse, and turn the parser's nested messages into one line."""
        try:
            self.config = parser.parse_args(args)
        except ArgumentError as error:
            raise ConfigError(_explain(str(error), [action.dest for action in parser._actions])) from error

    def before_instantiate_classes(self) -> None:
        """Refuse what can't run, and write out what was left to us."""
        trainer = self.config.trainer
        for key, instead in _REFUSED.items():
            if self.config.get(key) not in (None, 1):
                raise ConfigError(f"{key} isn't taken here: {instead}")
        trainer.accelerator, processes = resolve_accelerator(trainer.accelerator, trainer.devices)
        if trainer.precision is None:
            trainer.precision = fast_precision(trainer.accelerator)
        if trainer.strategy == "auto" and processes * trainer.num_nodes > 1:
            # The GAN's optimisers and the modulation leave parameters without a gradient.
            trainer.strategy = "ddp_find_unused_parameters_true"

    def instantiate_classes(self) -> None:
        """Build all; an error of ours comes out as it is, not as the parser's account of it."""
        try:
            super().instantiate_classes()
        except Exception as error:
            ours = next((cause for cause in _causes(error) if isinstance(cause, ZooError)), None)
            if ours is None:
                raise
            raise ours from None

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """A trainer with what every run has; a bare one for timing."""
        config = {**self.config_init.trainer, **kwargs}
        callbacks: list[Callback] = [self.config_init.stage]
        if self.config.average is not None:
            callbacks.append(WeightAverage(self.config.average))
        if self.timer is not None:
            off = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
            return self.trainer_class(
                **{**config, **dict.fromkeys(off, False), "max_time": None, "callbacks": [*callbacks, self.timer]}
            )
        self.run_dir = claim_run_dir(self._run_dir(), self.config.ckpt_path is not None)
        self.report = RunReport(self.run_dir)
        callbacks += [
            # After every epoch, so that the last epoch is there however seldom a run validates.
            ModelCheckpoint(
                self.run_dir / "checkpoints",
                filename="{epoch}-{step}",
                save_last=True,
                save_on_train_epoch_end=True,
            ),
            PublishWeights(self.run_dir, self.config.best),
            self.report,
        ]
        if config["enable_progress_bar"] is not False:
            callbacks.append(TQDMProgressBar(refresh_rate=5))
        if config["logger"] in (None, True):
            config["logger"] = list(loggers(self.run_dir))
        config["callbacks"] = [*(config["callbacks"] or []), *callbacks]
        config["enable_model_summary"] = config["enable_model_summary"] or False
        return self.trainer_class(**{**config, "default_root_dir": self.run_dir})

    def _run_dir(self) -> str:
        configs = self.config.config or []
        stem = Path(os.fspath(configs[-1])).stem if configs else "run"
        return self.config.run_dir or f"runs/{stem}"

    def config_text(self) -> str:
        """The configuration as YAML that makes the same run again; what a budget chose stands in it as numbers."""
        config = self.config.clone()
        config.budget = config.ckpt_path = None
        config.run_dir = self._run_dir()
        return self.parser.dump(config, skip_link_targets=True, skip_none=False)


def _config_arguments(args: Sequence[str]) -> Iterator[tuple[int, int, Path]]:
    """Where configs stand on a command line: index, words taken, the file."""
    for index, arg in enumerate(args):
        option, equals, value = arg.partition("=")
        if option in ("--config", "-c"):
            if not equals and index + 1 == len(args):
                raise ConfigError(f"{option} needs a file")
            yield index, 1 if equals else 2, find_config(value if equals else args[index + 1])


def _with_config_paths(args: Sequence[str]) -> list[str]:
    """The command line with the name of each config replaced by its path."""
    words = list(args)
    for index, taken, path in reversed(list(_config_arguments(args))):
        words[index : index + taken] = ["--config", str(path)]
    return words


def _check_link_targets(args: Sequence[str]) -> None:
    """Refuse values where they would be overwritten by the key that they follow from."""
    given = {arg[2:].partition("=")[0]: "on the command line" for arg in args if arg.startswith("--")}
    for _, _, path in _config_arguments(args):
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path} is no YAML: {' '.join(str(error).split())}") from error
        given |= dict.fromkeys(_flat_keys(content), f"in {path}")
    for source, targets in _LINKS.items():
        for target in targets:
            for spelling in (target, target.replace(".init_args", "")):
                if spelling in given:
                    raise ConfigError(f"{spelling} {given[spelling]} follows from {source}: set that instead")


def _flat_keys(content: Any, prefix: str = "") -> Iterator[str]:
    if isinstance(content, Mapping):
        for key, value in content.items():
            yield f"{prefix}{key}"
            yield from _flat_keys(value, f"{prefix}{key}.")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _explain(text: str, keys: Sequence[str]) -> str:
    """One line of what the parser says in many: the key, what is wrong with it, what it may have meant."""
    if match := re.match(r"unrecognized arguments: --([^ =]+)", text):
        return f"there is no option --{match[1]}{_near(match[1], keys, '--')}"
    if match := re.match(r"unrecognized arguments: (\S+)", text):
        return f"{match[1]!r} belongs to no option: options are --key value"
    if "arguments are required: model" in text:
        return "nothing to train: give a recipe with --config (configs/sample.yaml is the smallest)"
    match = re.match(r'Parser key "([^"]+)"', text)
    key = match[1] if match else "the configuration"
    if match := re.search(r"Problem with given class_path '([^']+)':\s+Option '([^']+)' is not accepted", text):
        known = list(inspect.signature(resolve_name(match[1])).parameters)
        return f"{key}: {match[1].rpartition('.')[2]} has no option {match[2]!r}{_near(match[2], known)}"
    if match := re.search(r"does not accept (?:nested key|option) '([^']+)'", text):
        return f"{key} has no option {match[1]!r}{_near(f'{key}.{match[1]}', keys)}"
    if key == "model" and (match := re.search(r"Given value: (\S+)", text)):
        known = sorted(c.__name__ for c in SRITMModule.__subclasses__())
        if re.fullmatch(r"\w+", match[1]):
            return f"there is no module {match[1]!r} to train; known: {', '.join(known)}"
    lines = [line.strip(" -") for line in text.splitlines()[bool(re.match("Parser key", text)) :]]
    return f"{key}: {next((line for line in lines if line), text)}"


def _near(word: str, known: Sequence[str], prefix: str = "") -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {prefix}{near[0]}?" if near else "; see --help"
