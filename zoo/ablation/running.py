"""The runs of an ablation side by side: one process each, as many at once as wanted, each with a GPU if there are."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch
import yaml

from zoo.ablation.column import RECIPE_NAME, read_result
from zoo.ablation.tables import Ablation, Budget
from zoo.errors import ConfigError
from zoo.files import lock, replacing
from zoo.runs import CLAIMED

LOG_NAME = "log.txt"
_ROOT = Path(__file__).resolve().parents[2]
_LOOK = 0.2  # seconds


@dataclass(frozen=True)
class Run:
    """One column with one seed.

    Attributes:
        column: its name.
        seed: of weights and data.
        folder: where it works.
        recipe: YAML.
    """

    column: str
    seed: int
    folder: Path
    recipe: str

    @property
    def result(self) -> dict[str, Any] | None:
        """What it came to; None before its end."""
        return read_result(self.folder)


def plan_runs(ablation: Ablation, budget: Budget, seeds: Sequence[int], output: Path) -> list[Run]:
    """The runs, seed by seed, so that a stop leaves whole rows of columns. Nothing is written.

    Raises:
        ConfigError: a folder holds a run of another recipe.
        OSError: a folder can't be read.
    """
    runs = []
    for seed in seeds:
        for column in ablation.columns:
            folder = output / f"{column.name}-seed{seed}"
            path = folder / RECIPE_NAME
            recipe = yaml.safe_dump(column.fit_config(budget, seed), sort_keys=False)
            if path.is_file() and path.read_text(encoding="utf-8") != recipe:
                raise ConfigError(
                    f"{folder} was begun with another budget or an older recipe (its {RECIPE_NAME}): "
                    "give another folder with -o, or remove it"
                )
            runs.append(Run(column.name, seed, folder, recipe))
    return runs


def write_recipes(runs: Sequence[Run]) -> None:
    """Write the recipe of each run into its folder.

    Raises:
        OSError: a folder can't be written.
    """
    for run in runs:
        run.folder.mkdir(parents=True, exist_ok=True)
        with replacing(run.folder / RECIPE_NAME) as path:
            path.write_text(run.recipe, encoding="utf-8")


def train_all(
    runs: Sequence[Run], group: str, jobs: int, output: Path
) -> Generator[tuple[Run, str | None], None, None]:
    """Train what has no result yet.

    The processes are ended with this one: they save, and the same call goes on from there.

    Args:
        runs: as :func:`plan_runs` gives them.
        group: of the W&B runs.
        jobs: processes at once; they share the GPUs, or the cores.
        output: the folder of all, held meanwhile.

    Yields:
        Each run as it ends, and why if it has no result.

    Raises:
        ConfigError: another process works there.
        OSError: a folder can't be written.
    """
    active: dict[int, tuple[Run, subprocess.Popen[bytes]]] = {}  # by the place among the jobs
    with _held(output) as held:
        write_recipes(runs)
        waiting = [run for run in runs if run.result is None]
        try:
            while waiting or active:
                for place in (place for place in range(jobs) if place not in active):
                    if waiting:
                        run = waiting.pop(0)
                        active[place] = run, _start(run, group, jobs, place, held)
                time.sleep(_LOOK)
                for place, (run, process) in list(active.items()):
                    if process.poll() is not None:
                        del active[place]
                        yield run, None if run.result else _failure(run, process.returncode)
        finally:
            for _, process in active.values():
                process.terminate()
            for _, process in active.values():
                process.wait()


@contextmanager
def _held(output: Path) -> Iterator[IO[str]]:
    """Hold the folder, here and in the processes that inherit the open file: they may outlive a killed parent."""
    output.mkdir(parents=True, exist_ok=True)
    with (output / ".lock").open("w") as file:
        if not lock(file):
            raise ConfigError(f"another process trains in {output}: wait for it, or give another -o")
        yield file


def _start(run: Run, group: str, jobs: int, place: int, held: IO[str]) -> subprocess.Popen[bytes]:
    # Another run's folder, and another run's W&B process, which wouldn't write this one's records.
    environment = {key: value for key, value in os.environ.items() if key not in (CLAIMED, "WANDB_SERVICE")}
    environment["WANDB_RUN_GROUP"] = group
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
    if gpus := torch.cuda.device_count():
        named = os.environ.get("CUDA_VISIBLE_DEVICES")
        own = named.split(",") if named else [str(number) for number in range(gpus)]
        environment["CUDA_VISIBLE_DEVICES"] = own[place % gpus]
    else:
        environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // jobs)))
    with (run.folder / LOG_NAME).open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "zoo.ablation.column", str(run.folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            pass_fds=(held.fileno(),),
            # A terminal's Ctrl-C comes to this process alone, which passes on one signal: a second would cut the
            # saving short.
            start_new_session=True,
        )


def _failure(run: Run, status: int) -> str:
    """Why a run has no result, in one line."""
    lines = (run.folder / LOG_NAME).read_text(encoding="utf-8", errors="replace").splitlines()
    said = next((line.removeprefix("error: ") for line in reversed(lines) if line.startswith("error: ")), None)
    if status == 2 and said:
        return said
    return f"ended with status {status}; see {run.folder / LOG_NAME}"
