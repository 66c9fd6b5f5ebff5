from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from datamodules.executors import open_workers
from zoo.errors import ConfigError, DataError


def test_tasks_in_this_process_are_run_when_their_results_are_wanted():
    begun = []

    def task(number: int) -> int:
        begun.append(number)
        return number * number

    with open_workers(1) as workers:
        results = workers.run(task, range(5))
        assert next(results) == (0, 0)
        assert begun == [0]
        assert list(results) == [(n, n * n) for n in range(1, 5)]


def test_an_error_of_a_task_is_the_callers():
    with open_workers(1) as workers, pytest.raises(ZeroDivisionError):
        list(workers.run(lambda number: 1 // number, [1, 0]))


def test_a_worker_that_dies_is_told_in_one_line():
    with pytest.raises(DataError, match="a worker was killed, out of memory perhaps; use fewer workers"):  # noqa: SIM117
        with open_workers(2) as workers:
            list(workers.run(os._exit, [1]))


def test_workers_end_when_their_parent_is_killed(tmp_path: Path):
    program = textwrap.dedent(
        """
        import multiprocessing, os, pathlib, sys
        from datamodules.executors import open_workers

        if __name__ == "__main__":
            with open_workers(2) as workers:
                list(workers.run(int, ["1"]))
                pids = [str(process.pid) for process in multiprocessing.active_children()]
                pathlib.Path(sys.argv[1]).write_text(" ".join(pids))
                os.kill(os.getpid(), 9)
        """
    )
    (tmp_path / "main.py").write_text(program)
    subprocess.run([sys.executable, str(tmp_path / "main.py"), str(tmp_path / "pids")], check=False)
    workers = (tmp_path / "pids").read_text().split()
    assert workers
    for _ in range(100):
        if not any(Path(f"/proc/{pid}").exists() for pid in workers):
            return
        time.sleep(0.1)
    pytest.fail(f"workers {workers} are still there")


def test_a_scheduler_that_isnt_there_is_refused():
    pytest.importorskip("distributed")
    with (
        pytest.raises(ConfigError, match=r"no Dask scheduler at tcp://127.0.0.1:9 "),
        open_workers(1, "tcp://127.0.0.1:9"),
    ):
        pass


def test_without_dask_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ConfigError, match=r"sritm-zoo\[dask\]"), open_workers(1, "tcp://127.0.0.1:8786"):
        pass
