from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from zoo.convert.overlap import ahead


def test_items_keep_their_order_and_are_made_in_another_thread() -> None:
    def items() -> Iterator[tuple[int, int]]:
        for number in range(20):
            yield number, threading.get_ident()

    numbers, threads = zip(*ahead(items()), strict=True)
    assert list(numbers) == list(range(20))
    assert threading.get_ident() not in threads


def test_an_error_comes_behind_the_items_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("the second")

    frames = ahead(items())
    assert next(frames) == 1
    with pytest.raises(ValueError, match="the second"):
        next(frames)


def test_who_stops_early_ends_the_thread_and_what_it_goes_through() -> None:
    closed, made = [], []

    def items() -> Iterator[int]:
        try:
            for number in range(1000):
                made.append(number)
                yield number
        finally:
            closed.append(True)

    before = threading.active_count()
    frames = ahead(ahead(items()))
    next(frames)
    frames.close()  # type: ignore[attr-defined]
    assert closed == [True]
    assert len(made) < 10  # two queues of two, and those in hand: memory is bounded
    assert threading.active_count() == before
