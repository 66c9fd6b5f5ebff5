"""Runs of several processes as a user starts them: even and uneven data, two machines, and ranks that die or hang."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import pytest
import yaml

from zoo.weights import read_weights

JSINET = ["--model", "JSINetModule", "--model.rates", "[{peak: 1e-3}]", "--stage.epoch", "null", "--data.crop", "[32]"]
ENDLESS = ["--trainer.max_epochs", "100000", "--trainer.check_val_every_n_epoch", "50000", "--trainer.logger", "false"]
MARK = "SRITM_TEST_RUN"
STARTED = 240  # seconds: imports of several processes on a busy machine


@pytest.fixture
def fit(root: Path, recipe: Path) -> list[str]:
    """The command, without what starts it."""
    return [str(root / "tools" / "fit.py"), "--config", str(recipe), *JSINET]


class Run:
    """A command and all processes that came of it, which a variable of their environment marks."""

    def __init__(self, process: subprocess.Popen, mark: str, out: Path) -> None:
        self.process = process
        self.mark = f"{MARK}={mark}".encode()
        self.out = out

    def processes(self) -> dict[int, list[bytes]]:
        """Those that run, with their environments."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                variables = (folder / "environ").read_bytes().split(b"\0")
                zombie = (folder / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue
            if self.mark in variables and not zombie:
                found[int(folder.name)] = variables
        return found

    def signal(self, rank: int, number: int) -> None:
        """Send a signal to a rank; without a launcher rank 0 is the command itself."""
        ranks = {
            pid
            for pid, variables in self.processes().items()
            if f"LOCAL_RANK={rank}".encode() in variables and b"fit.py" in Path(f"/proc/{pid}/cmdline").read_bytes()
        }
        (pid,) = ranks or {self.process.pid}
        os.kill(pid, number)

    def wait_until_it_trains(self) -> None:
        end = time.monotonic() + STARTED
        while not any(Path("runs").glob("*/checkpoints/*.ckpt")):
            assert self.process.poll() is None, self.out.read_text()
            assert time.monotonic() < end, self.out.read_text()
            time.sleep(0.1)

    def wait_until_all_ended(self, seconds: float) -> float:
        """Seconds that it took."""
        start = time.monotonic()
        while self.process.poll() is None or self.processes():
            assert time.monotonic() - start < seconds, self.processes()
            time.sleep(0.1)
        return time.monotonic() - start

    def end(self) -> int:
        return self.process.wait(STARTED)


@contextmanager
def started(command: Sequence[str], out: Path, **variables: str) -> Iterator[Run]:
    """A command that writes to ``out``; with it end all processes that it started, orphans too."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "SLURM_"))}
    mark = uuid4().hex
    environment |= {"OMP_NUM_THREADS": "1", MARK: mark, **variables}
    with out.open("w") as file:
        process = subprocess.Popen([sys.executable, *command], stdout=file, stderr=subprocess.STDOUT, env=environment)
        run = Run(process, mark, out)
        try:
            yield run
        finally:
            for pid in run.processes():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.wait()


def a_free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def errors(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("error:") or "Traceback" in line]


@pytest.mark.slow
def test_three_ranks_end_though_neither_samples_nor_frames_divide_among_them(fit: list[str], tmp_path: Path) -> None:
    """16 samples make one batch of 3 x 3 and leave 7; of 4 frames one rank scores 2."""
    out = tmp_path / "out.txt"
    words = ["--trainer.devices", "3", "--data.batch_size", "3", "--trainer.limit_train_batches", "1.0"]
    with started([*fit, *words], out) as run:
        assert run.end() == 0, out.read_text()
    report = json.loads(Path("runs/tiny/report.json").read_text())
    assert (report["ranks"], report["steps"], report["validation_frames"]) == (3, 2, 4)
    said = out.read_text()
    assert said.count("network ") == 1  # the first process speaks for all
    assert errors(said) == []


@pytest.mark.slow
def test_two_machines_train_one_run(fit: list[str], tmp_path: Path) -> None:
    """By torchrun on each, as docs/training.md says; how many there are is left to it."""
    torchrun = ["-m", "torch.distributed.run", "--nnodes", "2", "--nproc_per_node", "1"]
    torchrun += ["--master_addr", "127.0.0.1", "--master_port", a_free_port()]
    outs = [tmp_path / "machine0.txt", tmp_path / "machine1.txt"]
    with (
        started([*torchrun, "--node_rank", "0", *fit], outs[0]) as first,
        started([*torchrun, "--node_rank", "1", *fit], outs[1]) as second,
    ):
        assert first.end() == 0, outs[0].read_text()
        assert second.end() == 0, outs[1].read_text()
    report = json.loads(Path("runs/tiny/report.json").read_text())
    assert (report["ranks"], report["validation_frames"]) == (2, 4)
    kept = yaml.safe_load(Path("runs/tiny/config.yaml").read_text())["trainer"]
    assert (kept["devices"], kept["num_nodes"]) == (1, 2)
    assert read_weights("runs/tiny/weights.safetensors")[1]["step"] == report["steps"]
    assert [path.name for path in Path("runs").iterdir()] == ["tiny"]
    assert "network " in outs[0].read_text()
    assert "network " not in outs[1].read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("killed", "line"),
    [
        (1, "error: rank 1 was killed by SIGKILL, as Linux does when memory runs out; go on with the same command"),
        (0, "error: rank 1 lost another rank: see what that one says; go on with the same command"),
    ],
)
def test_when_a_rank_is_killed_the_other_says_so_and_ends(
    fit: list[str], tmp_path: Path, killed: int, line: str
) -> None:
    out = tmp_path / "out.txt"
    with started([*fit, *ENDLESS, "--trainer.devices", "2", "--data.batch_size", "2"], out) as run:
        run.wait_until_it_trains()
        run.signal(killed, signal.SIGKILL)
        run.wait_until_all_ended(30)
        assert run.process.returncode == (1 if killed else -signal.SIGKILL)
    (said,) = errors(out.read_text())
    assert said == f"{line} and --ckpt_path last"


@pytest.mark.slow
def test_under_torchrun_a_killed_rank_ends_all(fit: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out.txt"
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    with started([*torchrun, *fit, *ENDLESS, "--data.batch_size", "2"], out) as run:
        run.wait_until_it_trains()
        run.signal(1, signal.SIGKILL)
        run.wait_until_all_ended(60)
        assert run.process.returncode == 1
    said = out.read_text()
    assert "Signal 9 (SIGKILL) received" in said  # torchrun's table


@pytest.mark.slow
def test_a_rank_that_hangs_ends_the_run_at_the_timeout(fit: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out.txt"
    words = ["--trainer.devices", "2", "--data.batch_size", "2", "--ddp_timeout", "0.75"]
    with started([*fit, *ENDLESS, *words], out) as run:
        run.wait_until_it_trains()
        run.signal(1, signal.SIGSTOP)
        took = run.wait_until_all_ended(100)
        assert run.process.returncode == 1
    assert took > 40
    (said,) = errors(out.read_text())
    assert said.startswith("error: rank 0 has waited 0.75 minutes (ddp_timeout) for another rank, which hangs or was")


@pytest.mark.slow
def test_a_failure_of_one_rank_alone_is_said_by_it(fit: list[str], tmp_path: Path) -> None:
    """Rank 1 runs out of memory, rank 0 tells whom it lost."""
    program = tmp_path / "one_fails.py"
    program.write_text(
        "import os, sys, torch\n"
        "from zoo.fit import main\n"
        "from zoo.modules import JSINetModule\n"
        "step = JSINetModule.training_step\n"
        "def failing(self, batch, index):\n"
        "    if self.global_rank == 1 and self.current_epoch == 1:\n"
        "        torch.empty(1 << 56, dtype=torch.uint8)\n"
        "    return step(self, batch, index)\n"
        "JSINetModule.training_step = failing\n"
        "sys.exit(main())\n"
    )
    out = tmp_path / "out.txt"
    words = ["--trainer.devices", "2", "--data.batch_size", "2"]
    path = str(Path(fit[0]).parent.parent)
    with started([str(program), *fit[1:], *ENDLESS, *words], out, PYTHONPATH=path) as run:
        run.wait_until_all_ended(STARTED)
        assert run.process.returncode == 1
    first, second = errors(out.read_text())
    assert first.startswith("error: a batch of 2 doesn't fit the memory: lower data.batch_size to 1")
    assert second == ("error: rank 1 failed: see what it says above; go on with the same command and --ckpt_path last")
