"""Work that goes on in a thread while its results are used: decoder, network and encoder run at the same time."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable
from typing import TypeVar

T = TypeVar("T")

_AHEAD = 2  # frames: a 4K frame takes 100 MB
_LOOK_SECONDS = 0.1  # after which a thread sees that nobody wants its results any more


def ahead(items: Iterable[T], count: int = _AHEAD) -> Generator[T, None, None]:
    """Go through ``items`` in a thread of its own, up to ``count`` of them ahead.

    Yields:
        The items, in their order.

    Raises:
        BaseException: what ``items`` raised, behind the items before it.
    """
    waiting: queue.Queue[tuple[bool, T | BaseException | None]] = queue.Queue(count)
    unwanted = threading.Event()

    def put(entry: tuple[bool, T | BaseException | None]) -> bool:
        while not unwanted.is_set():
            try:
                waiting.put(entry, timeout=_LOOK_SECONDS)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for item in items:
                if not put((True, item)):
                    break
            else:
                put((False, None))
        except BaseException as error:
            put((False, error))
        finally:
            # Another thread of this chain may stand behind it; it ends when its generator is closed.
            close = getattr(items, "close", None)
            if close is not None:
                close()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            is_item, content = waiting.get()
            if is_item:
                yield content  # type: ignore[misc]
            elif content is None:
                return
            else:
                raise content  # type: ignore[misc]
    finally:
        unwanted.set()
        thread.join()
