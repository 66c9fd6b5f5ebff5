from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from callbacks import RandomState
from callbacks.random_state import random_state, set_random_state

CPU = torch.device("cpu")
MODULE: Any = SimpleNamespace(device=CPU)


def trainer(rank: int = 0, ranks: int = 1) -> Any:
    return SimpleNamespace(global_rank=rank, world_size=ranks)


def draws() -> list[float]:
    """From each generator; a normal one first, of which NumPy and Python keep a second in stock."""
    global_numpy = np.random.mtrand._rand  # what np.random's functions draw from
    return [
        random.gauss(0, 1),
        random.gauss(0, 1),
        global_numpy.standard_normal(),
        global_numpy.standard_normal(),
        float(torch.rand(())),
    ]


def test_all_generators_go_on_from_a_checkpoint() -> None:
    draws()
    checkpoint: dict[str, Any] = {}
    RandomState().on_save_checkpoint(trainer(), MODULE, checkpoint)
    expected = draws()
    assert draws() != expected

    callback = RandomState()
    callback.on_load_checkpoint(trainer(), MODULE, checkpoint)
    callback.on_train_start(trainer(), MODULE)
    assert draws() == expected
    callback.on_train_start(trainer(), MODULE)  # only once
    assert draws() != expected


def test_a_state_is_plain_enough_for_a_checkpoint(tmp_path: Any) -> None:
    random.gauss(0, 1)
    state = random_state(CPU)
    torch.save(state, tmp_path / "state.pt")
    expected = draws()
    set_random_state(torch.load(tmp_path / "state.pt", weights_only=True), CPU)
    assert draws() == expected


def test_each_rank_takes_its_own_and_a_new_one_keeps_its_seed() -> None:
    torch.manual_seed(1)
    first = random_state(CPU)
    torch.manual_seed(2)
    checkpoint = {"random_state": [first, random_state(CPU)]}
    seen = []
    for rank in range(3):
        callback = RandomState()
        torch.manual_seed(7)
        callback.on_load_checkpoint(trainer(rank, 3), MODULE, checkpoint)
        callback.on_train_start(trainer(rank, 3), MODULE)
        seen.append(torch.initial_seed())
    assert seen == [1, 2, 7]


def test_a_checkpoint_without_random_state_is_taken() -> None:
    callback = RandomState()
    callback.on_load_checkpoint(trainer(), MODULE, {})
    torch.manual_seed(3)
    callback.on_train_start(trainer(), MODULE)
    assert torch.initial_seed() == 3


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_gpu_s_generator_goes_on_too() -> None:
    device = torch.device("cuda", torch.cuda.current_device())
    state = random_state(device)
    expected = torch.rand(4, device=device)
    set_random_state(state, device)
    assert torch.equal(torch.rand(4, device=device), expected)
