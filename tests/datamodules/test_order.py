from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from datamodules.order import Slot, batch_slots, epoch_order, slot_generator

shard_sizes = st.lists(st.integers(0, 9), max_size=7)


@given(shard_sizes, st.integers(0, 2**64 - 1), st.integers(0, 50), st.none() | st.integers(1, 4))
def test_an_epoch_holds_each_sample_once(sizes, seed, epoch, window):
    order = epoch_order(sizes, seed, epoch, window)
    assert sorted(order.tolist()) == list(range(sum(sizes)))
    assert np.array_equal(order, epoch_order(sizes, seed, epoch, window))


def test_epochs_and_seeds_have_orders_of_their_own():
    seeds = [0, 1, 2**64 - 2, 2**64 - 1]
    orders = {tuple(epoch_order([20, 30], seed, epoch)) for seed in seeds for epoch in range(3)}
    assert len(orders) == 12


def test_equal_sets_of_a_mixture_dont_go_in_step():
    assert len({tuple(epoch_order([20, 30], 0, 0, part=part)) for part in range(3)}) == 3


def test_without_a_window_samples_of_all_shards_are_mixed():
    order = epoch_order([50, 50], seed=0, epoch=0)
    assert 15 < np.count_nonzero(order[:50] < 50) < 35


@given(st.integers(0, 100), st.integers(1, 3))
def test_a_window_finishes_its_shards_before_the_next_begin(epoch, window):
    sizes = [4, 4, 4, 4, 4, 4]
    shards = epoch_order(sizes, 0, epoch, window) // 4
    for first in range(0, 24, 4 * window):
        assert len(set(shards[first : first + 4 * window])) == window
    assert len(set(shards)) == 6


@given(st.integers(1, 4), st.integers(1, 5), st.integers(1, 4))
def test_ranks_share_the_slots_of_each_batch_without_gap_or_overlap(world_size, batch_size, batches):
    slots = [
        slot
        for batch in range(batches)
        for rank in range(world_size)
        for slot in batch_slots(batch, batch_size, rank, world_size)
    ]
    assert slots == list(range(batches * world_size * batch_size))


def test_each_slot_has_random_numbers_of_its_own():
    draws = {
        (seed, epoch, slot): slot_generator(seed, Slot(epoch, slot)).integers(2**62)
        for seed in range(3)
        for epoch in range(3)
        for slot in range(10)
    }
    assert len(set(draws.values())) == len(draws)
    assert slot_generator(2, Slot(1, 9)).integers(2**62) == draws[2, 1, 9]
