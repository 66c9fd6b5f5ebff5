from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import Dataset

from datamodules.loader import SlotBatches, SlotLoader, same_size_batches
from datamodules.order import Slot
from zoo.errors import ConfigError


class Slots(Dataset):
    def __getitem__(self, slot: Slot) -> Slot:
        return slot


def make_loader(workers: int = 0, samples: int = 13, batch_size: int = 2, **order: int) -> SlotLoader:
    return SlotLoader(
        Slots(),
        SlotBatches(samples, batch_size, rank=0, world_size=1),
        order,
        collate_fn=list,
        num_workers=workers,
        persistent_workers=workers > 0,
    )


def run(loader: SlotLoader, epoch: int) -> Iterator[list[Slot]]:
    """Iterate as Lightning does: iter() first, then the epoch."""
    iterator = iter(loader)
    loader.batch_sampler.sampler.set_epoch(epoch)
    return iterator


def epoch_batches(epoch: int, first: int = 0) -> list[list[Slot]]:
    return [[Slot(epoch, 2 * batch), Slot(epoch, 2 * batch + 1)] for batch in range(first, 6)]


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_follow_the_epoch_that_is_set_after_iter(workers):
    loader = make_loader(workers)
    for epoch in (0, 1, 5):
        assert list(run(loader, epoch)) == epoch_batches(epoch)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("done", [1, 3, 5])
def test_a_loader_goes_on_with_the_next_batch_and_begins_later_epochs_at_their_start(workers, done):
    before = make_loader(2 - workers)
    iterator = run(before, 4)
    for _ in range(done):
        next(iterator)
    after = make_loader(workers)
    after.load_state_dict(before.state_dict())
    assert after.state_dict() == before.state_dict()
    assert list(run(after, 4)) == epoch_batches(4, done)
    assert list(run(after, 5)) == epoch_batches(5)


def test_a_loader_is_asked_for_an_iterator_more_than_once_without_harm():
    loader = make_loader()
    loader.load_state_dict({"epoch": 2, "done": 3, "batches": 6, "order": {}})
    iter(loader)
    iter(loader.batch_sampler)
    list(loader.batch_sampler)
    assert list(run(loader, 2)) == epoch_batches(2, 3)


@pytest.mark.parametrize("done", [6, 4])
def test_after_a_whole_or_shortened_epoch_the_next_begins_at_its_start(done):
    before = make_loader()
    iterator = run(before, 0)
    for _ in range(done):
        next(iterator)  # a trainer's limit may end the epoch here, and it never asks for more
    after = make_loader()
    after.load_state_dict(before.state_dict())
    assert list(run(after, 1)) == epoch_batches(1)


def test_the_state_before_an_epoch_begins_counts_nothing_done():
    loader = make_loader()
    list(run(loader, 0))
    loader.batch_sampler.set_epoch(1)
    assert (loader.state_dict()["epoch"], loader.state_dict()["done"]) == (1, 0)


def test_resuming_within_an_epoch_of_another_order_is_refused():
    before = make_loader(seed=1, global_batch_size=2)
    next(run(before, 3))
    with pytest.raises(ConfigError, match=r"within epoch 3: .* seed 1 \(now 9\)"):
        make_loader(seed=9, global_batch_size=2).load_state_dict(before.state_dict())


@pytest.mark.parametrize(("before", "after"), [({"windows": 2}, {}), ({}, {"windows": 2})])
def test_a_fact_that_only_one_of_two_orders_follows_from_is_a_difference(before, after):
    stopped = make_loader(seed=1, **before)
    next(run(stopped, 3))
    was, now = before.get("windows"), after.get("windows")
    with pytest.raises(ConfigError, match=rf"was made with windows {was} \(now {now}\);"):
        make_loader(seed=1, **after).load_state_dict(stopped.state_dict())


def test_another_order_may_begin_with_a_new_epoch():
    before = make_loader(seed=1)
    list(run(before, 0))
    after = make_loader(seed=9)
    after.load_state_dict(before.state_dict())
    assert after.batch_sampler.epoch == 1


def test_iterating_leaves_the_global_random_numbers_alone():
    state = torch.get_rng_state()
    list(make_loader())
    assert torch.equal(torch.get_rng_state(), state)


@given(st.lists(st.sampled_from([(2, 2), (2, 4), (4, 4)])), st.integers(1, 3))
def test_frames_are_batched_once_each_and_by_size(sizes, batch_size):
    batches = same_size_batches(sizes, batch_size)
    assert sorted(position for batch in batches for position in batch) == list(range(len(sizes)))
    for batch in batches:
        assert len(batch) <= batch_size
        assert len({sizes[position] for position in batch}) == 1
    if batch_size == 1:
        assert batches == [[position] for position in range(len(sizes))]


def test_a_worker_outlives_what_stops_the_run_but_not_its_parent(root):
    """A scheduler signals the whole group: the parent still needs the batch in hand, and then ends its workers.

    In a process of its own, in which no other test has left a thread or a handler that could take the signals.
    """
    code = "from tests.datamodules.test_loader import signal_a_worker; signal_a_worker()"
    subprocess.run([sys.executable, "-c", code], cwd=root, check=True, timeout=120)


def signal_a_worker():
    loader = make_loader(workers=1)
    iterator = run(loader, 0)
    batches = [next(iterator)]
    (worker,) = loader._iterator._workers
    os.kill(worker.pid, signal.SIGINT)
    subprocess.run(["kill", "-TERM", str(worker.pid)], check=True)
    time.sleep(0.2)
    assert worker.is_alive()
    assert batches + list(iterator) == epoch_batches(0)
    worker.terminate()  # as multiprocessing does at the end of a program
    worker.join(10)
    assert worker.exitcode == 0
