"""Where the tasks of a long job run: in this process, in processes of its own, or on a Dask cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any, ParamSpec, TypeVar

from zoo.errors import ConfigError, DataError
from zoo.processes import serve_parent

T = TypeVar("T")
R = TypeVar("R")
P = ParamSpec("P")

# How long a Dask scheduler may take to answer.
_DASK_SECONDS = 10

# Tasks handed out ahead of those that are done: enough for a large cluster, so few that an error comes soon.
_AHEAD = 256


class InlineExecutor(Executor):
    """Runs each task at once, in this process."""

    def submit(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Run the task; the future is done."""
        future: Future[R] = Future()
        try:
            future.set_result(function(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


@dataclass(frozen=True)
class Workers:
    """What tasks are handed to.

    Attributes:
        executor: takes plain functions of picklable arguments.
        count: how many tasks run at once.
    """

    executor: Executor
    count: int

    def run(self, function: Callable[[T], R], tasks: Iterable[T]) -> Iterator[tuple[T, R]]:
        """Run ``function`` on each task.

        Args:
            function: may be run twice for a task, where a worker died.
            tasks: in the order in which they are begun.

        Yields:
            Task and result, in the order in which they are done.
        """
        ahead = 1 if isinstance(self.executor, InlineExecutor) else max(_AHEAD, 2 * self.count)
        waiting: dict[Future[R], T] = {}

        def finished() -> Iterator[tuple[T, R]]:
            done, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                yield waiting.pop(future), future.result()

        try:
            for task in tasks:
                waiting[self.executor.submit(function, task)] = task
                if len(waiting) >= ahead:
                    yield from finished()
            while waiting:
                yield from finished()
        finally:
            for future in waiting:
                future.cancel()


@contextmanager
def open_workers(count: int, dask: str | None = None) -> Iterator[Workers]:
    """Workers, until the block ends; what they haven't begun by then is cancelled.

    Args:
        count: processes; 1 runs tasks in this one. Not used with ``dask``.
        dask: address of the scheduler of a running Dask cluster, such as ``tcp://host:8786``.

    Raises:
        ConfigError: Dask isn't installed, or no scheduler answers.
        DataError: a worker died while it was in use.
    """
    if dask is not None:
        with _dask_workers(dask) as workers:
            yield workers
    elif count == 1:
        yield Workers(InlineExecutor(), 1)
    else:
        # Forked processes would inherit locks of torch's threads. A worker waits on a queue of which it holds both
        # ends, so that nothing but a look at its parent would ever wake it.
        pool = ProcessPoolExecutor(count, mp_context=get_context("spawn"), initializer=serve_parent)
        try:
            yield Workers(pool, count)
        except BrokenProcessPool as error:
            raise DataError("a worker was killed, out of memory perhaps; use fewer workers") from error
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def _dask_workers(address: str) -> Iterator[Workers]:
    try:
        import distributed
    except ImportError as error:
        raise ConfigError("--dask needs Dask; pip install 'sritm-zoo[dask]'") from error
    try:
        client: Any = distributed.Client(address, timeout=_DASK_SECONDS)
    except (OSError, ValueError) as error:
        raise ConfigError(f"no Dask scheduler at {address} ({error}); give the address that it printed") from error
    with client:
        try:
            # By default equal calls are taken for one.
            yield Workers(client.get_executor(pure=False), max(1, sum(client.nthreads().values())))
        except distributed.KilledWorker as error:
            raise DataError("a Dask worker was killed again and again; give the workers more memory") from error
        except (distributed.comm.CommClosedError, distributed.CancelledError) as error:
            raise DataError(f"the Dask cluster at {address} went away; start it again") from error
