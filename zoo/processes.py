"""Processes of one job on this machine, of which none outlives the others. Standard library alone.

The job can be gone on with: what a process has finished lies on disk.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from multiprocessing import connection, get_context, parent_process
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

from zoo.errors import ZooError

_SAID = 2  # exit status of a process that has sent its error


def run_together(function: Callable[..., None], count: int, *args: Any) -> None:
    """Call ``function(*args, rank)`` in ``count`` processes and wait for all of them.

    The first that fails ends the others, and so does whatever ends this call, such as ``KeyboardInterrupt``.

    Args:
        function: of a module, by whose name the processes find it.
        count: how many; ranks count from 0.
        args: can be pickled.

    Raises:
        ZooError: what a process raised, or how it ended.
        OSError: what a process raised.
    """
    context = get_context("spawn")  # a forked one would inherit locks of torch's threads
    running: dict[int, tuple[int, SpawnProcess, Connection]] = {}  # by what tells of the end
    try:
        for rank in range(count):
            receiving, sending = context.Pipe(duplex=False)
            process = context.Process(target=_work, args=(sending, function, args, rank))
            process.start()
            sending.close()
            running[process.sentinel] = rank, process, receiving
        while running:
            for sentinel in connection.wait(list(running)):
                assert isinstance(sentinel, int)
                rank, process, receiving = running.pop(sentinel)
                process.join()
                if process.exitcode == _SAID:
                    raise receiving.recv()
                if process.exitcode:
                    how = _how_it_ended(process.exitcode)
                    raise ZooError(f"process {rank + 1} of {count} {how}; the same command goes on where it was")
    finally:
        for _, process, _ in running.values():
            process.terminate()
        for _, process, _ in running.values():
            process.join()


def _how_it_ended(status: int) -> str:
    if status > 0:
        return "failed, see what it says above"
    name = signal.Signals(-status).name
    return f"was killed by {name}" + (", as Linux does when memory runs out" if name == "SIGKILL" else "")


def serve_parent() -> None:
    """Leave Ctrl-C to the process that started this one, and end when that is gone, even if it was killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _work(sending: Connection, function: Callable[..., None], args: tuple[Any, ...], rank: int) -> None:
    serve_parent()
    try:
        function(*args, rank)
    except (ZooError, OSError) as error:
        sending.send(error)
        sys.exit(_SAID)
