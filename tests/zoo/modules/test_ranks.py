"""Two gloo ranks stay identical, and equal one process where the mathematics says so."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor


def start(root: Path, out: Path, case: str, ranks: int, precision: str, shared: bool = False) -> int:
    """Train in a process of its own, since forking wants fresh thread pools; its exit status."""
    out.mkdir(parents=True)
    words = [case, str(ranks), precision, "shared" if shared else "apart", str(out)]
    return subprocess.run(
        [sys.executable, "-m", "tests.two_ranks", *words],
        cwd=root,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
        timeout=400,
        capture_output=True,
    ).returncode


def run(root: Path, out: Path, case: str, ranks: int, precision: str, shared: bool = False) -> list[dict[str, Tensor]]:
    """Parameters that each rank ended with."""
    assert start(root, out, case, ranks, precision, shared) == 0
    return [torch.load(out / f"rank{rank}.pt", weights_only=True) for rank in range(ranks)]


def losses(out: Path, rank: int) -> list[dict[str, float]]:
    """What a rank logged in each step of its own images, in the section ``train``."""
    steps = json.loads((out / f"losses{rank}.json").read_text())
    return [{key: value for key, value in step.items() if key.startswith("train/")} for step in steps]


def assert_identical(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    different = [name for name in first if not torch.equal(first[name], second[name])]
    assert not different


@pytest.mark.parametrize("case", ["jsigan", "deep_sritm"])
def test_ranks_with_different_data_keep_identical_parameters_across_the_switch(
    root: Path, tmp_path: Path, case: str
) -> None:
    first, second = run(root, tmp_path / "two", case, 2, "32-true")
    assert_identical(first, second)


@pytest.mark.parametrize(
    ("case", "shared"), [("jsinet", False), ("deep_sritm", False), pytest.param("jsigan", True, marks=pytest.mark.slow)]
)
def test_two_ranks_equal_one_process_in_losses_and_parameters(
    root: Path, tmp_path: Path, case: str, shared: bool
) -> None:
    """JSI-GAN's batch norm sees one rank's images, so there both ranks are given the same half."""
    one = run(root, tmp_path / "one", case, 1, "64-true", shared)[0]
    first, second = run(root, tmp_path / "two", case, 2, "64-true", shared)
    assert_identical(first, second)
    for name, expected in one.items():
        torch.testing.assert_close(first[name], expected, rtol=1e-10, atol=1e-12, msg=lambda m, n=name: f"{n}: {m}")
    curve = losses(tmp_path / "one", 0)
    of_ranks = zip(losses(tmp_path / "two", 0), losses(tmp_path / "two", 1), strict=True)
    assert len(curve) == 4
    for step, (a, b) in zip(curve, of_ranks, strict=True):
        assert {key: (a[key] + b[key]) / 2 for key in a} == pytest.approx(step, rel=1e-10)


def test_a_loss_of_nan_on_one_rank_stops_both_at_the_same_step(root: Path, tmp_path: Path) -> None:
    assert start(root, tmp_path / "two", "diverging", 2, "32-true") != 0
    for rank in range(2):
        assert "diverged at step 2: the loss is nan" in (tmp_path / "two" / f"rank{rank}.txt").read_text()
