"""Training from configuration files: ``python tools/fit.py --config FILE [--key value ...]``, also ``sritm fit``."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import time
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from callbacks.stop_request import RunStopped
from zoo.errors import ConfigError, ZooError, one_line
from zoo.fit.budget import plan
from zoo.fit.configuration import ON_COMMAND_LINE, FitCLI
from zoo.fit.dashboards import close
from zoo.fit.failures import RunFailed, explain_failure
from zoo.fit.processes import end_children, end_with_launcher, give_way, processes_from_outside, tell_launcher
from zoo.fit.stopping import explain_stop, finish_if_trained
from zoo.fit.summary import closing, opening
from zoo.runs import CLAIMED, CONFIG_NAME, is_first_process, release_run_dir

# The epochs that the first process chose: the ranks it starts run the same command and must not choose again.
_PLAN = "SRITM_FIT_PLAN"
_PROBE_STEPS = {1: 8, 2: 4}  # of each stage, the first of which isn't timed
# What Lightning says of things that are meant so here.
_NOISE = (
    "You have overridden `on_after_batch_transfer`",
    ".*does not have many workers",
    ".*LeafSpec",
    "Grad strides do not match bucket view strides",  # channels last, which pays more than this copy costs
    ".*torch.distributed.nn.functional.* is deprecated",
    "Be aware that when using `ckpt_path`",  # options of this start, such as max_time, may be others
    ".*smaller than the logging interval",  # the interval counts on over epochs
    "Total length of `.*DataLoader` across ranks is zero",  # a set without validation: the report says so
)


def main(argv: Sequence[str] | None = None) -> int:
    """Train; see ``--help``.

    Returns:
        0, or 2 after an error that the user can mend, said in one line; 128 + the signal where one stopped the run.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for chatty in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    for message in _NOISE:
        warnings.filterwarnings("ignore", message=message)
    over = end_with_launcher()
    try:
        _run(list(sys.argv[1:] if argv is None else argv))
    except RunStopped as stop:
        if not is_first_process():
            return 0  # the first process says it; at another status its launcher would kill it before
        print(explain_stop(stop), file=sys.stderr)
        return int(str(stop.code))
    except KeyboardInterrupt:
        if is_first_process():
            print("stopped by SIGINT before training began", file=sys.stderr)
        return 130
    except (ZooError, MisconfigurationException) as error:
        give_way()
        _fail(_one_line(error))
        return 2
    except Exception as error:
        text = explain_failure(error)
        give_way()
        if text is None:
            tell_launcher(traceback.format_exc())
            raise
        _fail(text)
        return 1
    finally:
        over.set()
        for decision in (_PLAN, CLAIMED):
            os.environ.pop(decision, None)
    return 0


def _fail(text: str) -> None:
    tell_launcher(text)
    print(f"error: {text}", file=sys.stderr, flush=True)


def _run(args: list[str]) -> None:
    cli = FitCLI(args)
    checkpoint = cli.checkpoint()
    if cli.config.budget is not None:
        cli = FitCLI([*args, *(_planned(cli, args) if checkpoint is None else _kept(cli, checkpoint))])
    cli.check()
    try:
        cli.begin()
        assert cli.run_dir is not None
        assert cli.report is not None
        if is_first_process():  # it alone has opened the data by now
            print(opening(cli, checkpoint), flush=True)
        if checkpoint is not None:
            finish_if_trained(cli.trainer, cli.run_dir, checkpoint)
        with cli.config_init.checkpoint.stop:
            cli.trainer.fit(cli.model, datamodule=cli.datamodule, ckpt_path=checkpoint, weights_only=True)
    except Exception as error:
        text = explain_failure(error, cli.trainer)
        end_children(cli.trainer)
        if text is None:
            raise
        raise RunFailed(text) from error
    finally:
        close(cli.trainer.loggers)
        if is_first_process() and cli.run_dir is not None:
            cli.leave_as_it_was()
            release_run_dir(cli.run_dir)
    if cli.report.report:
        _say(closing(cli))
    else:
        _say(f"nothing was left to train: {checkpoint} has reached the end; raise trainer.max_epochs to go on")


def _kept(cli: FitCLI, checkpoint: Path) -> list[str]:
    """What the budget of a run chose when it began, from its configuration; the command line goes before it."""
    path = checkpoint.parent.parent / CONFIG_NAME
    if not path.is_file():
        raise ConfigError(
            f"no {path} says what epochs the budget chose: give stage.epoch, trainer.max_epochs and --budget null"
        )
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    options = {"trainer.max_epochs": config["trainer"]["max_epochs"], "stage.epoch": config["stage"]["epoch"]}
    said = [key for key in options if cli.given.get(key) == ON_COMMAND_LINE]
    return _as_arguments({key: value for key, value in options.items() if key not in said and value is not None})


def _planned(cli: FitCLI, args: Sequence[str]) -> list[str]:
    """A budget as arguments: ``stage.epoch`` and ``trainer.max_epochs``, timed on this machine."""
    if _PLAN in os.environ:
        return json.loads(os.environ[_PLAN])
    _say("timing a few steps of each stage ...")
    if processes_from_outside() not in (None, (1, 1)):
        raise ConfigError(
            "budget: processes started from outside would each time for themselves; set trainer.max_epochs"
        )
    validation = 0.0

    def probe(stage: int) -> tuple[float, int]:
        nonlocal validation
        steps = _PROBE_STEPS[stage]
        # An epoch has one step at least, so the steps end within their stage; none of its epochs is validated.
        options = {
            "trainer.max_steps": steps,
            "trainer.max_epochs": steps + 1,
            "trainer.check_val_every_n_epoch": steps + 2,
            "trainer.val_check_interval": 1.0,
            "trainer.devices": 1,
        }
        if cli.model.stages == 2:
            options["stage.epoch"] = steps if stage == 1 else 0
        timing = FitCLI([*args, *_as_arguments(options)])
        timing.trainer.fit(timing.model, timing.datamodule)
        if stage == 1:
            start = time.perf_counter()
            timing.trainer.validate(timing.model, timing.datamodule, verbose=False)
            validation = time.perf_counter() - start
        return timing.timer.step, timing.timer.batches

    every = cli.config.trainer.check_val_every_n_epoch or 1
    chosen = plan(cli.config.budget, cli.model.stages, probe, lambda: validation, every)
    options = {"trainer.max_epochs": chosen.max_epochs}
    if chosen.stage_epoch is not None:
        options["stage.epoch"] = chosen.stage_epoch
    arguments = _as_arguments(options)
    os.environ[_PLAN] = json.dumps(arguments)
    return arguments


def _as_arguments(options: dict[str, Any]) -> list[str]:
    return [f"--{key}={value}" for key, value in options.items()]


def _say(text: str) -> None:
    if is_first_process():
        print(text, flush=True)


def _one_line(error: BaseException) -> str:
    """What an exception says, without the traceback that a data worker puts before it."""
    text = str(error)
    if worker := re.search(r"Original Traceback.*\n[\w.]+: (.*)", text, re.DOTALL):
        text = worker[1]
    return one_line(text) if text.strip() else type(error).__name__
