from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from zoo.errors import DataError, ZooError
from zoo.processes import run_together

JOBS = """
import os, pathlib, signal, time
from zoo.errors import DataError

def sleep(folder, rank):
    path = pathlib.Path(folder, f"pid-{rank}")
    path.with_suffix(".new").write_text(str(os.getpid()))
    path.with_suffix(".new").rename(path)
    time.sleep(120)

def wait_for_the_first(folder):
    while not pathlib.Path(folder, "pid-0").exists():
        time.sleep(0.05)

def one_is_killed(folder, rank):
    if rank == 0:
        sleep(folder, rank)
    wait_for_the_first(folder)
    os.kill(os.getpid(), signal.SIGKILL)

def one_raises(folder, rank):
    if rank == 0:
        sleep(folder, rank)
    wait_for_the_first(folder)
    raise DataError("the second is wrong")

def all_are_done(folder, rank):
    pathlib.Path(folder, f"done-{rank}").touch()
"""


@pytest.fixture(autouse=True)
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that loads quickly in a process of its own."""
    (tmp_path / "jobs_of_a_test.py").write_text(JOBS)
    monkeypatch.syspath_prepend(tmp_path)


def job(name: str) -> Callable[..., None]:
    import jobs_of_a_test

    return getattr(jobs_of_a_test, name)


def assert_gone(pid_file: Path) -> None:
    pid = pid_file.read_text()
    for _ in range(100):
        if not Path(f"/proc/{pid}").exists():
            return
        time.sleep(0.1)
    pytest.fail(f"process {pid} is still there")


def test_all_ranks_are_called(tmp_path: Path) -> None:
    run_together(job("all_are_done"), 2, str(tmp_path))
    assert sorted(path.name for path in tmp_path.glob("done-*")) == ["done-0", "done-1"]


def test_a_killed_process_is_named_and_the_others_end(tmp_path: Path) -> None:
    with pytest.raises(ZooError, match=r"process 2 of 2 was killed by SIGKILL, .* the same command goes on"):
        run_together(job("one_is_killed"), 2, str(tmp_path))
    assert_gone(tmp_path / "pid-0")


def test_what_a_process_raises_is_the_callers(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^the second is wrong$"):
        run_together(job("one_raises"), 2, str(tmp_path))
    assert_gone(tmp_path / "pid-0")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_process_outlives_its_parent(number: signal.Signals, tmp_path: Path) -> None:
    program = """
        import signal, sys
        import jobs_of_a_test
        from zoo.processes import run_together

        if __name__ == "__main__":
            signal.signal(signal.SIGTERM, signal.default_int_handler)
            try:
                run_together(jobs_of_a_test.sleep, 2, sys.argv[1])
            except KeyboardInterrupt:
                sys.exit(130)
        """
    (tmp_path / "main.py").write_text(textwrap.dedent(program))
    parent = subprocess.Popen([sys.executable, str(tmp_path / "main.py"), str(tmp_path)])
    try:
        while not all((tmp_path / f"pid-{rank}").exists() for rank in range(2)):
            assert parent.poll() is None
            time.sleep(0.05)
        parent.send_signal(number)
        assert parent.wait(timeout=30) == (130 if number == signal.SIGTERM else -signal.SIGKILL)
    finally:
        parent.kill()
    for rank in range(2):
        assert_gone(tmp_path / f"pid-{rank}")
