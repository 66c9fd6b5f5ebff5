from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from datamodules.mixture import MixedOrder, Part, apportion
from datamodules.order import epoch_order

sizes = st.lists(st.integers(0, 9), min_size=1, max_size=4).filter(any)
parts = st.lists(st.builds(Part, sizes, st.floats(0.05, 20), st.none() | st.integers(1, 3)), min_size=1, max_size=3)


@settings(deadline=None)  # a busy machine is no failure
@given(parts, st.integers(0, 2**64 - 1))
def test_each_set_makes_pass_after_pass_whatever_the_epochs(parts, seed):
    order = MixedOrder(parts, seed)
    epochs = [order.numbers(epoch) for epoch in range(4)]
    assert [len(epoch) for epoch in epochs] == [len(order)] * 4
    start = 0
    for part, share in zip(parts, order.shares, strict=True):
        mine = [epoch[(start <= epoch) & (epoch < start + part.samples)] - start for epoch in epochs]
        assert [len(numbers) for numbers in mine] == [share] * 4
        in_order = np.concatenate(mine)
        for first in range(0, len(in_order), part.samples):
            a_pass = Counter(in_order[first : first + part.samples].tolist())
            assert max(a_pass.values()) == 1
        start += part.samples


@settings(deadline=None)  # a busy machine is no failure
@given(sizes, st.integers(0, 2**64 - 1), st.integers(0, 9), st.none() | st.integers(1, 3))
def test_a_single_set_makes_one_pass_an_epoch(sizes, seed, epoch, window):
    order = MixedOrder([Part(sizes, weight=3.5, window=window)], seed)
    assert np.array_equal(order.numbers(epoch), epoch_order(sizes, seed, epoch, window))


def test_weights_say_how_often_a_set_comes_in_every_stretch():
    order = MixedOrder([Part([1000], 1), Part([200], 3)], seed=0)
    assert order.shares == [300, 900]
    numbers = order.numbers(5)
    for first in range(0, 1200, 200):
        of_first = np.count_nonzero(numbers[first : first + 200] < 1000)
        assert 50 - 4 * 6.2 < of_first < 50 + 4 * 6.2  # 50 expected, standard deviation 6.2


def test_epochs_scatter_the_sets_in_ways_of_their_own():
    order = MixedOrder([Part([20], 1), Part([20], 1)], seed=0)
    assert len({tuple(order.numbers(epoch) < 20) for epoch in range(4)}) == 4


def test_the_order_of_a_mixture_is_a_pure_function():
    parts = [Part([4, 5], 1, 1), Part([3], 2)]
    forwards = MixedOrder(parts, 7)
    assert np.array_equal(forwards.numbers(3), MixedOrder(parts, 7).numbers(3))
    assert not np.array_equal(forwards.numbers(3), MixedOrder(parts, 8).numbers(3))


@settings(deadline=None)  # a busy machine is no failure
@given(st.integers(0, 10**6), st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=5))
def test_shares_add_up_and_are_within_one_of_their_weights(total, weights):
    shares = apportion(total, weights)
    assert sum(shares) == total
    assume(total)
    assert all(abs(s - total * w / sum(weights)) < 1 + 1e-6 for s, w in zip(shares, weights, strict=True))


@pytest.mark.parametrize(
    ("parts", "slots"),
    [
        ([Part([10] * 6, 1)], 0),
        ([Part([10] * 6, 1, window=2)], 20),
        ([Part([10] * 6, 1, window=2), Part([60], 1)], 40),
        ([Part([10] * 6, 1, window=2), Part([20] * 3, 1, window=1)], 40),
    ],
)
def test_a_window_lasts_longer_where_other_sets_come_between(parts, slots):
    assert MixedOrder(parts, 0).window_slots() == slots
