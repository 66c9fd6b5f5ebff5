from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from zoo.errors import WeightsError
from zoo.weights import load_tensors, read_weights, write_weights


@pytest.fixture
def net() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 3, 1))


def test_weights_and_metadata_come_back(net: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    write_weights(path, net.state_dict(), {"name": "x", "args": {"scale": 2, "modulation": False}, "step": 7})
    tensors, metadata = read_weights(path)
    assert metadata == {"name": "x", "args": {"scale": 2, "modulation": False}, "step": 7}
    assert all(torch.equal(tensors[key], value) for key, value in net.state_dict().items())
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]


def test_a_failed_write_leaves_the_old_file(net: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "w.safetensors"
    write_weights(path, net.state_dict(), {"step": 1})
    before = path.read_bytes()

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_weights(path, net.state_dict(), {"step": 2})
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]


@pytest.mark.parametrize("cut", [0, 1, 7, 40, 200, -1])
def test_a_cut_file_is_refused_by_name(net: nn.Module, tmp_path: Path, cut: int) -> None:
    path = tmp_path / "w.safetensors"
    write_weights(path, net.state_dict(), {})
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(WeightsError, match=r"w\.safetensors is not a whole safetensors file"):
        read_weights(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no weights file"):
        read_weights(tmp_path / "nothing.safetensors")


def test_a_checkpoint_points_to_the_weights_beside_it(net: nn.Module, tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    checkpoint = tmp_path / "checkpoints" / "last.ckpt"
    checkpoint.write_bytes(b"")
    write_weights(tmp_path / "weights.safetensors", net.state_dict(), {})
    with pytest.raises(WeightsError, match=r"use .*weights\.safetensors"):
        read_weights(checkpoint)


def test_nan_is_refused_with_its_tensor(net: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    state = net.state_dict() | {"1.bias": torch.tensor([0.0, float("nan"), 0.0])}
    save_file(state, path)
    with pytest.raises(WeightsError, match=r"1\.bias holds NaN"):
        read_weights(path)


def test_a_number_that_the_network_s_type_cannot_hold_is_refused_and_nothing_is_copied(net: nn.Module) -> None:
    before = {key: value.clone() for key, value in net.state_dict().items()}
    state = {key: value.double() + 1 for key, value in before.items()}
    state["1.bias"][0] = 1e300
    with pytest.raises(WeightsError, match=r"file: tensor 1\.bias holds NaN or infinity as float32"):
        load_tensors(net, state, "file")
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


@pytest.mark.parametrize("text", ["1" * 5000, "[" * 200_000, "plain"])
def test_metadata_that_are_no_json_come_as_they_are(net: nn.Module, tmp_path: Path, text: str) -> None:
    path = tmp_path / "w.safetensors"
    save_file(net.state_dict(), path, {"note": text})
    assert read_weights(path)[1] == {"note": text}


@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8, torch.float8_e4m3fn])
def test_tensors_that_are_no_ordinary_floats_are_refused(net: nn.Module, tmp_path: Path, dtype: torch.dtype) -> None:
    path = tmp_path / "w.safetensors"
    save_file(net.state_dict() | {"1.bias": torch.zeros(3).to(dtype)}, path)
    with pytest.raises(WeightsError, match=rf"1\.bias is {str(dtype)[6:]}; weights are float16"):
        read_weights(path)


def test_a_missing_surplus_or_misshapen_tensor_is_named_and_nothing_is_copied(net: nn.Module) -> None:
    state = {key: value.clone() + 1 for key, value in net.state_dict().items()}
    before = {key: value.clone() for key, value in net.state_dict().items()}
    wrong = {
        r"lacks tensor 1\.bias": {key: value for key, value in state.items() if key != "1.bias"},
        r"unknown tensor 2\.bias": state | {"2.bias": torch.zeros(1)},
        r"0\.weight has shape \(4, 3, 1, 1\)": state | {"0.weight": torch.zeros(4, 3, 1, 1)},
    }
    for message, tensors in wrong.items():
        with pytest.raises(WeightsError, match=message):
            load_tensors(net, tensors, "file")
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    load_tensors(net, state, "file")
    assert torch.equal(net.state_dict()["1.bias"], state["1.bias"])
