from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from zoo.errors import ConfigError
from zoo.optim import AuthorsAdam, Rate, create_optimizer


def test_authors_adam_adds_epsilon_before_bias_correction() -> None:
    gradients = [3e-9, -1e-8, 2e-8, 5e-9]  # small beside epsilon, where its place matters
    p = torch.nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    optimizer = AuthorsAdam([p], lr=0.1)
    m = v = 0.0
    expected = 1.0
    for t, g in enumerate(gradients, start=1):
        p.grad = torch.tensor([g], dtype=torch.float64)
        optimizer.step()
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        expected -= 0.1 * math.sqrt(1 - 0.999**t) / (1 - 0.9**t) * m / (math.sqrt(v) + 1e-8)
        assert p.item() == pytest.approx(expected, rel=1e-14)


def test_authors_adam_counts_anew_after_its_state_is_cleared() -> None:
    p = torch.nn.Parameter(torch.ones(1, dtype=torch.float64))
    optimizer = AuthorsAdam([p], lr=0.1)
    moves = []
    for _ in range(2):
        before = p.item()
        p.grad = torch.full((1,), 1e-8, dtype=torch.float64)
        optimizer.step()
        moves.append(p.item() - before)
        optimizer.state.clear()
    assert moves[0] == pytest.approx(moves[1], rel=1e-12)


def test_steps_fall_after_their_boundary_as_tensorflow_counts() -> None:
    rate = Rate(1e-4, "steps", at=[0.8, 0.9])
    length = 250 * 4
    assert rate(800, length) == pytest.approx(1e-4)  # the update whose number is the boundary has the old rate
    assert rate(801, length) == pytest.approx(1e-5)
    assert rate(900, length) == pytest.approx(1e-5)
    assert rate(901, length) == pytest.approx(1e-6)


def test_tenths_are_jsi_gans_last_ten_epochs() -> None:
    rate = Rate(1e-6, "tenths")
    factors = [rate(epoch * 7, 70) / 1e-6 for epoch in range(10)]
    assert factors == pytest.approx([1, 1, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2])


def test_cosine_goes_from_peak_to_floor() -> None:
    rate = Rate(2.0, "cosine", floor=0.1)
    assert rate(0, 100) == 2.0
    assert rate(50, 100) == pytest.approx(1.1)
    assert rate(100, 100) == pytest.approx(0.2)


@given(st.integers(1, 500), st.integers(0, 100), st.sampled_from(["constant", "cosine", "tenths", "steps"]))
def test_rates_stay_between_zero_and_peak(length: int, warmup: int, shape: str) -> None:
    rate = Rate(1e-3, shape, warmup=warmup, at=[0.5] if shape == "steps" else [])  # type: ignore[arg-type]
    values = [rate(done, length) for done in range(length)]
    assert all(0 < value <= 1e-3 for value in values)
    risen = values[: min(warmup, length // 2)]
    if shape == "constant":
        assert risen == sorted(risen)


@pytest.mark.parametrize(
    ("name", "kind"), [("authors_adam", "AuthorsAdam"), ("sgd", "SGD"), ("adam", "Adam"), ("adamw", "AdamW")]
)
def test_optimizers_come_by_name(name: str, kind: str) -> None:
    p = torch.nn.Parameter(torch.ones(2))
    optimizer = create_optimizer(name, [{"params": [p], "rate_scale": 0.1}])
    assert type(optimizer).__name__ == kind
    assert optimizer.param_groups[0]["rate_scale"] == 0.1


def test_an_unknown_optimizer_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="unknown optimizer 'adamm'"):
        create_optimizer("adamm", [torch.nn.Parameter(torch.ones(1))])


def updates(
    optimizer: torch.optim.Optimizer, p: torch.nn.Parameter, scaler: torch.amp.GradScaler | None
) -> list[float]:
    """Three updates by gradients that are clipped at 0.1, as the modules do it."""
    for _ in range(3):
        optimizer.param_groups[0]["lr"] = 1e-2
        optimizer.zero_grad()
        loss = (p * torch.arange(1.0, 4.0)).square().sum()
        (loss if scaler is None else scaler.scale(loss)).backward()
        if scaler is not None and not getattr(optimizer, "_step_supports_amp_scaling", False):
            scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_([p], 0.1)
        if scaler is None:
            optimizer.step()
        else:
            scaler.step(optimizer)
            scaler.update()
    return p.tolist()


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_the_fused_form_makes_the_same_updates_and_leaves_unscaling_to_the_scaler(name: str) -> None:
    ends = []
    for fused, scaler in ((False, None), (True, None), (True, torch.amp.GradScaler("cpu", growth_interval=1))):
        p = torch.nn.Parameter(torch.ones(3))
        optimizer = create_optimizer(name, [p], 0.1, fused)
        assert bool(optimizer.param_groups[0]["fused"]) is fused
        ends.append(updates(optimizer, p, scaler))
    assert ends[1] == pytest.approx(ends[0], rel=1e-6)
    assert ends[2] == pytest.approx(ends[1], rel=1e-6)


def test_parameters_on_a_cpu_and_names_without_a_fused_form_are_not_fused() -> None:
    p = torch.nn.Parameter(torch.ones(3))
    assert not create_optimizer("adamw", [p]).param_groups[0]["fused"]
    create_optimizer("nadamw", [p], fused=True)


def test_a_state_of_the_plain_form_goes_on_in_the_fused_one_and_back() -> None:
    """As between a run on a CPU and one on a GPU."""
    ends = []
    for forms in ((False, False), (False, True), (True, False)):
        p = torch.nn.Parameter(torch.ones(3))
        first, second = (create_optimizer("adamw", [p], 0.1, fused) for fused in forms)
        updates(first, p, None)
        second.load_state_dict(first.state_dict())
        ends.append(updates(second, p, None))
    assert ends[1] == pytest.approx(ends[0], rel=1e-6)
    assert ends[2] == pytest.approx(ends[0], rel=1e-6)
