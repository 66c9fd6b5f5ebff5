"""Where a run's scalars, pictures and tables go: a CSV file always, and W&B, offline without an account."""

from __future__ import annotations

import logging
import netrc
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml
from pytorch_lightning.loggers import CSVLogger, Logger, WandbLogger

from zoo.errors import one_line
from zoo.runs import CONFIG_NAME, is_first_process

logger = logging.getLogger(__name__)

PROJECT = "sritm-zoo"
STEP = "trainer/global_step"  # the x axis of all: W&B's own count starts anew when an offline run is gone on with
ID_NAME = "wandb_id.txt"  # in the run's folder
_FLUSH_STEPS = 50  # so much of the CSV file a kill may take


def loggers(run_dir: Path, given: Any, resume: bool) -> Iterator[Logger]:
    """The loggers of a run: CSV in its folder, then what its configuration gives, which is W&B by default.

    Args:
        run_dir: the run's folder, with its configuration.
        given: ``trainer.logger``: a logger or several; None or True for W&B; False for no logger at all.
        resume: go on with the W&B run whose id the folder keeps.
    """
    if given is False:
        return
    # Each start of a run writes a version of its own.
    yield GuardedCSVLogger(run_dir, name="csv", flush_logs_every_n_steps=_FLUSH_STEPS)
    if given in (None, True):
        yield from _wandb(run_dir, resume)
    elif isinstance(given, Sequence):
        yield from given
    else:
        yield given


def close(loggers: Sequence[Logger]) -> None:
    """Have W&B write out what it still holds. Whatever goes wrong is said, not raised."""
    for each in loggers:
        if isinstance(each, WandbLogger) and is_first_process():
            try:
                each.experiment.finish()
            except Exception as error:
                logger.warning("W&B didn't end as it should (%s)", one_line(error))
                _forget_service()


class GuardedCSVLogger(CSVLogger):
    """Lightning's, but a full disk doesn't end the run: what can't be written is tried again with what follows."""

    def save(self) -> None:
        """Write what isn't written yet."""
        try:
            super().save()
        except OSError as error:
            logger.warning("scalars can't be written to %s (%s)", self.log_dir, error.strerror or error)


class GuardedWandbLogger(WandbLogger):
    """W&B that can't end a run: at its first failure it says so, and is off from there on."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._off = False

    @contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # no kind is known in advance, and none is worth a run
            self._off = True
            logger.warning("W&B is off from here on (%s); scalars are in csv/ of the run's folder", one_line(error))

    def log_hyperparams(self, *args: Any, **options: Any) -> None:
        """As its base, guarded."""
        if not self._off:
            with self._guard():
                super().log_hyperparams(*args, **options)

    def log_metrics(self, *args: Any, **options: Any) -> None:
        """As its base, guarded."""
        if not self._off:
            with self._guard():
                super().log_metrics(*args, **options)

    def log_image(self, *args: Any, **options: Any) -> None:
        """As its base, guarded."""
        if not self._off:
            with self._guard():
                super().log_image(*args, **options)

    def log_table(self, *args: Any, **options: Any) -> None:
        """As its base, guarded."""
        if not self._off:
            with self._guard():
                super().log_table(*args, **options)


def _wandb(run_dir: Path, resume: bool) -> Iterator[Logger]:
    """W&B in the run's folder, started by the first process; none where it is switched off or doesn't start."""
    mode = os.environ.get("WANDB_MODE") or ("online" if _has_account() else "offline")
    if mode == "disabled":
        return
    os.environ.setdefault("WANDB_SILENT", "true")  # its closing advice would bury the run's report
    run = None
    if is_first_process():
        modes = [mode, "offline"] if mode == "online" else [mode]
        for number, attempt in enumerate(modes, start=1):
            try:
                run = _start(run_dir, attempt, resume)
                break
            except Exception as error:  # as above
                if number < len(modes):
                    logger.warning("W&B can't be reached (%s): this run is logged offline", one_line(error))
                else:
                    logger.warning("W&B is off for this run (%s); scalars are in %s", one_line(error), run_dir / "csv")
                    return
    # Lightning would start it with an argument that W&B has given up and warns of.
    yield GuardedWandbLogger(project=PROJECT, save_dir=run_dir, experiment=run, offline=mode != "online")


def _start(run_dir: Path, mode: str, resume: bool) -> Any:
    import wandb

    path = run_dir / ID_NAME
    run = wandb.init(
        project=os.environ.get("WANDB_PROJECT", PROJECT),
        name=run_dir.name,
        dir=run_dir.absolute(),  # its process may have been started in another working folder
        id=path.read_text(encoding="utf-8").strip() if resume and path.is_file() else None,
        resume="allow",
        mode=mode,  # type: ignore[arg-type]
        config=_config(run_dir),
        reinit="create_new",  # what else this process logs to W&B is none of a run's business
    )
    run.define_metric(STEP)
    run.define_metric("*", step_metric=STEP, step_sync=True)
    path.write_text(f"{run.id}\n", encoding="utf-8")
    return run


def _forget_service() -> None:
    """Drop the process that W&B works in: if it is dead, Python's exit would show what came of talking to it."""
    import wandb

    with suppress(Exception):
        wandb.teardown()


def _config(run_dir: Path) -> Any:
    with suppress(OSError, yaml.YAMLError):
        return yaml.safe_load((run_dir / CONFIG_NAME).read_text(encoding="utf-8"))
    return None


def _has_account() -> bool:
    """Whether this machine knows a key of the W&B server."""
    if "WANDB_API_KEY" in os.environ:
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).netloc
    with suppress(OSError, netrc.NetrcParseError):
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    return False
