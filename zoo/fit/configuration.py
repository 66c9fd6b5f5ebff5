"""The configuration of a training run: its keys, what follows from what, and what is refused."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from math import inf
from pathlib import Path
from typing import Any, Literal, Union, get_args

import yaml
from jsonargparse import ArgumentError
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from callbacks import (
    DataFacts,
    DivergenceGuard,
    Panels,
    ProgressLine,
    PublishWeights,
    RandomState,
    RunReport,
    SaveCheckpoints,
    ScoreTable,
    Speed,
    StageSwitch,
    WeightAverage,
)
from callbacks.publish_weights import check_best
from datamodules import SRITMDataModule
from zoo.errors import ConfigError, ZooError, one_line
from zoo.fit.budget import StepTimer
from zoo.fit.checkpoint import check_checkpoint
from zoo.fit.dashboards import loggers
from zoo.fit.hardware import check_precision, fast_precision, resolve_accelerator, resolve_devices
from zoo.fit.messages import explain
from zoo.fit.processes import ddp_strategy, match_launcher
from zoo.fit.schedule import check_intervals, check_schedule, epoch_batches
from zoo.modules import SRITMModule
from zoo.runs import (
    CONFIG_NAME,
    claim_run_dir,
    find_checkpoint,
    find_config,
    find_run_dir,
    has_checkpoint,
    is_first_process,
    is_of,
    is_requeued,
)

# Said once at the source; the parser would overwrite a value at the target without a word.
_LINKS = {
    "scale": ("model.init_args.scale", "data.scale"),
    "stage.epoch": ("data.stage_epoch",),
    "seed_everything": ("data.seed",),
}
_REFUSED = {
    "trainer.accumulate_grad_batches": "use model.accumulate, which works in manual optimisation too",
    "trainer.gradient_clip_val": "use model.clip_norm, which works in manual optimisation too",
    "trainer.sync_batchnorm": "use model.sync_batchnorm, which JSI-GAN's own batch norm follows",
}
_REFUSED_CALLBACKS = {
    "GradientAccumulationScheduler": "use model.accumulate",
    "BatchSizeFinder": "give data.batch_size",
    "LearningRateFinder": "give model.rates",
    "StochasticWeightAveraging": "use average",
    "Timer": "use trainer.max_time",
}
ON_COMMAND_LINE = "on the command line"
_CALLBACK_KEYS = {"stage": StageSwitch, "guard": DivergenceGuard, "checkpoint": SaveCheckpoints, "panels": Panels}
_OWN_KEYS = {
    "run_dir": (str, "The run's folder, runs/CONFIG by default; -N at its end is the next free number, or the newest."),
    "ckpt_path": (str, "Go on from a checkpoint: a file, or last."),
    "best": (str, "What picks the weights to publish: a logged metric, or last. The module's own by default."),
    "average": (float, "Decay of the average of the weights that is validated and published; none by default."),
    "budget": (float, "Minutes to train: a few steps are timed, then stage.epoch and trainer.max_epochs set, once."),
    "ddp_timeout": (float, "Minutes that a rank waits for another before the run ends with an error; 5 by default."),
}


class FitCLI(LightningCLI):
    """Parses a command line and builds trainer, module and data of a run.

    The trainer is a bare one at first, which logs, saves and reports nothing; :meth:`check` refuses what can't run, and
    :meth:`begin` claims the run's folder and replaces the trainer by the run's.

    Args:
        args: the command line, without the program's name.

    Attributes:
        given: each key that the command line or a config sets, with where.
        run_dir: the run's folder; None before :meth:`begin`.
        report: the callback that reports; None before :meth:`begin`.
        timer: the bare trainer's callback that times.

    Raises:
        ConfigError: whatever is wrong with the configuration, in one line.
    """

    def __init__(self, args: Sequence[str]) -> None:
        self.run_dir: Path | None = None
        self.report: RunReport | None = None
        self._checkpoint: Path | None = None
        self._kept_text: str | None = None
        self._start_weights: str | None = None
        self.timer = StepTimer()
        self.given = _given_keys(args)
        _check_link_targets(self.given)
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
        for key, callback in _CALLBACK_KEYS.items():
            parser.add_lightning_class_args(callback, key)
        # Tried in its order, Lightning's Union[float, int] makes 1, one batch, to 1.0, all batches.
        for action in parser._actions:
            kinds = get_args(getattr(action, "_typehint", None))
            if {int, float} <= set(kinds):
                action._typehint = Union[tuple(sorted(kinds, key=lambda kind: kind is not int))]  # type: ignore[attr-defined]  # noqa: UP007
        for source, targets in _LINKS.items():
            for target in targets:
                parser.link_arguments(source, target)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse, and turn the parser's nested messages into one line."""
        try:
            self.config = parser.parse_args(args)
        except ArgumentError as error:
            hints = {action.dest: getattr(action, "_typehint", None) for action in parser._actions}
            raise ConfigError(explain(str(error), hints)) from error
        _check_numbers(self.config)

    def before_instantiate_classes(self) -> None:
        """Refuse what can't run, and write out what was left to us."""
        if self.config.ckpt_path is None and is_requeued() and has_checkpoint(self._run_dir()):
            self.config.ckpt_path = "last"
        if self.config.ckpt_path is not None:
            # The checkpoint has the weights of by now; the file that the run began with may be gone.
            options = self.config.model.init_args
            self._start_weights, options.weights = options.weights, None
        trainer = self.config.trainer
        for key, instead in _REFUSED.items():
            if self.config.get(key) != self.parser.get_default(key):
                raise ConfigError(f"{key} isn't taken here: {instead}")
        _check_callbacks(trainer.callbacks or [])
        trainer.devices, trainer.num_nodes = match_launcher(trainer.devices, trainer.num_nodes)
        if isinstance(trainer.strategy, str) and any(
            word in trainer.strategy for word in ("spawn", "fork", "notebook")
        ):
            raise ConfigError(
                f"trainer.strategy is {trainer.strategy}: processes are started by the command itself; use ddp"
            )
        trainer.accelerator, processes = resolve_accelerator(trainer.accelerator, trainer.devices)
        trainer.devices = resolve_devices(trainer.accelerator, trainer.devices, processes)
        check_precision(trainer.precision, trainer.accelerator)
        if trainer.precision is None:
            trainer.precision = fast_precision(trainer.accelerator)
        self._processes = processes * trainer.num_nodes

    def instantiate_classes(self) -> None:
        """Build all; an error of ours comes out as it is, not as the parser's account of it."""
        try:
            super().instantiate_classes()
        except Exception as error:
            for cause in _causes(error):
                if isinstance(cause, ZooError):
                    raise cause from None
                if isinstance(cause, ModuleNotFoundError):
                    missing = str(cause).splitlines()[0]
                    raise ConfigError(f"the configuration names what isn't installed: {missing}") from None
            raise

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """The bare trainer."""
        if self.config.trainer.strategy == "auto" and self._processes > 1:
            # In a stage of several some parameters have no gradient: the modulation's, or the discriminators'.
            strategy = "ddp" if self.model.stages == 1 else "ddp_find_unused_parameters_true"
            self.config.trainer.strategy = self.config_init.trainer.strategy = strategy
        off = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
        return self._trainer(
            **{**kwargs, **dict.fromkeys(off, False), "max_time": None, "callbacks": [*self._shared(), self.timer]}
        )

    def _trainer(self, **options: Any) -> Trainer:
        options = {**self.config_init.trainer, **options}
        options["strategy"] = ddp_strategy(options["strategy"], self.config.ddp_timeout)
        try:
            return self.trainer_class(**options)
        except (ValueError, TypeError, MisconfigurationException) as error:
            raise ConfigError(f"trainer: {error}") from error

    def _shared(self) -> list[Callback]:
        """Callbacks that belong to training itself."""
        average = [] if self.config.average is None else [WeightAverage(self.config.average)]
        return [self.config_init.stage, *average]

    def checkpoint(self) -> Path | None:
        """The checkpoint that the run goes on from, if it does."""
        given = self.config.ckpt_path
        if given is not None and self._checkpoint is None:
            self._checkpoint = find_checkpoint(given, self._run_dir())
        return self._checkpoint

    def check(self) -> None:
        """Refuse what can't run, before a folder is claimed. The first process speaks for all.

        Raises:
            ZooError: data, stages, optimiser, score or checkpoint don't go together.
        """
        if not is_first_process():
            return
        check_best(self.config.best, self.model)
        self.config_init.stage.setup(self.trainer, self.model, "fit")
        self.model.configure_optimizers()
        was = None if (checkpoint := self.checkpoint()) is None else check_checkpoint(checkpoint, self.model)
        self.datamodule.trainer = self.trainer
        self.datamodule.prepare_data()
        self.datamodule.setup("fit")
        self.model.check_data(self.datamodule)
        batches = epoch_batches(self.trainer, self.datamodule)
        check_intervals(self.trainer, batches)
        if was is not None:
            check_schedule(*was, self.model, batches, self.config.stage.epoch)

    def begin(self) -> None:
        """Claim the run's folder, write its configuration, and build the trainer of the run."""
        run_dir = str(find_run_dir(self._run_dir())) if self.config.ckpt_path == "last" else self._run_dir()
        # A checkpoint of another run's begins a run of its own.
        resume = (checkpoint := self.checkpoint()) is not None and is_of(checkpoint, run_dir)
        self.run_dir = claim_run_dir(run_dir, resume)
        if is_first_process():
            path = self.run_dir / CONFIG_NAME
            self._kept_text = path.read_text(encoding="utf-8") if resume and path.is_file() else None
            path.write_text(self.config_text(), encoding="utf-8")
        self.report = RunReport(self.run_dir)
        config = self.config_init.trainer
        callbacks = [
            self.config_init.guard,
            *(config.callbacks or []),
            *self._shared(),
            RandomState(),
            self.config_init.checkpoint,
            PublishWeights(self.run_dir, self.config.best),
            Speed(),
            DataFacts(),
            ScoreTable(),
            self.config_init.panels,
            self.report,
        ]
        if config.enable_progress_bar is not False:
            callbacks.append(ProgressLine())
        self.trainer = self._trainer(
            callbacks=callbacks,
            logger=list(loggers(self.run_dir, config.logger, resume)),
            enable_model_summary=config.enable_model_summary or False,
            default_root_dir=self.run_dir,
        )

    def changes(self) -> list[str]:
        """What differs from the configuration that the run had before: ``key old -> new``."""
        if self._kept_text is None:
            return []
        old, new = (dict(_leaves(yaml.safe_load(text) or {})) for text in (self._kept_text, self.config_text()))
        return [
            f"{key} {old.get(key)} -> {new.get(key)}"
            for key in sorted(old.keys() | new.keys())
            if old.get(key) != new.get(key)
        ]

    def leave_as_it_was(self) -> None:
        """Put back the configuration of a run that could not be gone on with."""
        if self._kept_text is not None and self.run_dir is not None and not self.config_init.checkpoint.began:
            (self.run_dir / CONFIG_NAME).write_text(self._kept_text, encoding="utf-8")

    def _run_dir(self) -> str:
        configs = self.config.config or []
        stem = Path(os.fspath(configs[-1])).stem if configs else "run"
        return self.config.run_dir or f"runs/{stem}"

    def config_text(self) -> str:
        """The configuration as YAML that makes the same run again; what a budget chose stands in it as numbers."""
        config = self.config.clone()
        config.budget = config.ckpt_path = None
        config.run_dir = self._run_dir()
        config.model.init_args.weights = config.model.init_args.weights or self._start_weights
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


def _given_keys(args: Sequence[str]) -> dict[str, str]:
    """Each key that a command line and its configs set, with where it stands."""
    given: dict[str, str] = {}
    for _, _, path in _config_arguments(args):
        content = _read_yaml(path)
        if not isinstance(content, Mapping):
            raise ConfigError(f"{path} is {'empty' if content is None else 'no mapping'}: a config holds key: value")
        for key, value in content.items():
            given |= dict.fromkeys(_keys_within(str(key), value, path.parent), f"in {path}")
    for word, following in zip_longest(args, args[1:], fillvalue=""):
        if word.startswith("--"):
            key, equals, value = word[2:].partition("=")
            given |= dict.fromkeys(_keys_within(key, value if equals else following, Path()), ON_COMMAND_LINE)
    return given


def _keys_within(key: str, value: Any, folder: Path) -> Iterator[str]:
    """A key and those below it; a value may be a mapping, the YAML of one, or the path of a file from ``folder``."""
    yield key
    if isinstance(value, str) and any(target.startswith(f"{key}.") for target in _targets()):
        path = next((path for path in (folder / value, Path(value)) if value and path.is_file()), None)
        value = _read_yaml(path) if path else _yaml_or_none(value)
    if isinstance(value, Mapping):
        for name, below in value.items():
            yield from _keys_within(f"{key}.{name}", below, folder)


def _yaml_or_none(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return None  # the parser says what it thinks of it


class _EachKeyOnce(yaml.SafeLoader):
    """YAML without repeated keys, of which the last would count and the others be overlooked."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                mark = key.start_mark
                raise ConfigError(f"{mark.name} says {key.value} again in line {mark.line + 1}: leave one of them")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _read_yaml(path: Path) -> Any:
    try:
        with path.open(encoding="utf-8") as file:
            return yaml.load(file, _EachKeyOnce)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no YAML: {one_line(error)}") from error


def _targets() -> dict[str, str]:
    """Where a value would be overwritten, in both spellings, and the key that it follows from."""
    targets = {target: source for source, followers in _LINKS.items() for target in followers}
    return targets | {target.replace(".init_args", ""): source for target, source in targets.items()}


def _check_link_targets(given: Mapping[str, str]) -> None:
    """Refuse values where they would be overwritten by the key that they follow from."""
    for target, source in _targets().items():
        if target in given:
            raise ConfigError(f"{target} {given[target]} follows from {source}: set that instead")


def _check_numbers(config: Any) -> None:
    """Refuse numbers that nothing can be made of."""
    if config.budget is not None and not 0 < config.budget < inf:
        raise ConfigError(f"budget is {config.budget}: give minutes, more than 0")
    if config.ddp_timeout is not None and not 0 < config.ddp_timeout < inf:
        raise ConfigError(f"ddp_timeout is {config.ddp_timeout}: give minutes, more than 0")
    if not 0 <= config.seed_everything < 2**32:
        raise ConfigError(f"seed_everything is {config.seed_everything}: give 0 to {2**32 - 1}")
    trainer = config.trainer
    if trainer.max_epochs == 0 or trainer.max_steps == 0 or trainer.limit_train_batches == 0:
        raise ConfigError(
            "nothing would be trained: trainer.max_epochs, max_steps and limit_train_batches must be at least 1"
        )
    endless = trainer.max_epochs == -1 or (trainer.max_epochs is None and trainer.max_time is not None)
    if endless and trainer.max_steps == -1 and config.budget is None:
        raise ConfigError(
            "the run has no end: set trainer.max_epochs or trainer.max_steps, which the rates are scheduled to"
        )
    if trainer.max_time is not None and not any(int(digits) for digits in re.findall(r"\d+", str(trainer.max_time))):
        raise ConfigError(f"trainer.max_time is {trainer.max_time}: give days:hours:minutes:seconds, more than 0")
    for key in ("check_val_every_n_epoch", "val_check_interval"):
        if (every := getattr(trainer, key)) is not None and not every > 0:
            raise ConfigError(f"trainer.{key} is {every}: give more than 0")


def _check_callbacks(given: Sequence[Any]) -> None:
    """Refuse callbacks of Lightning's that change what is decided here."""
    for each in given:
        name = str(each.class_path).rpartition(".")[2]
        if name in _REFUSED_CALLBACKS:
            raise ConfigError(f"trainer.callbacks: {name} isn't taken here: {_REFUSED_CALLBACKS[name]}")


def _leaves(config: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Each value of nested mappings, under its dotted key."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
