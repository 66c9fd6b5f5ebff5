from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from zoo.flops import FlopCounter, peak_flops
from zoo.nets import DeepSRITM, JSINet


def test_a_convolution_and_its_backward_pass_are_counted() -> None:
    weight = torch.rand(5, 3, 3, 3, requires_grad=True)
    with FlopCounter() as counter:
        F.conv2d(torch.rand(2, 3, 8, 8), weight, padding=1).sum().backward()
    forward = 2 * (5 * 3 * 3 * 3) * (2 * 8 * 8)  # a multiplication and an addition for each tap
    assert counter.total == 2 * forward  # backward: by the weight alone


@pytest.mark.parametrize("net", [JSINet(2), DeepSRITM(2)], ids=lambda net: type(net).__name__)
def test_a_network_counts_as_torch_counts_it(net: torch.nn.Module) -> None:
    sdr = torch.rand(1, 3, 6, 6)
    with FlopCounter() as counter:
        net(sdr).sum().backward()
    with FlopCounterMode(display=False) as reference:
        net(sdr).sum().backward()
    assert counter.total == reference.get_total_flops() > 0


@pytest.mark.parametrize(
    ("name", "precision", "tera"),
    [
        ("NVIDIA H100 80GB HBM3", "bf16-mixed", 989.4),
        ("NVIDIA H100 PCIe", "16-mixed", 756.0),
        ("NVIDIA A100-SXM4-80GB", "32-true", 156.0),
        ("NVIDIA L40S", "bf16-mixed", 362.0),  # not the L4
        ("NVIDIA L4", "bf16-mixed", 121.0),
        ("Tesla V100-SXM2-16GB", "32-true", 15.7),  # has no TF32
        ("NVIDIA A10G", "bf16-mixed", None),  # not the A10
        ("NVIDIA GeForce RTX 4090 Laptop GPU", "bf16-mixed", None),
        ("Some GPU", "bf16-mixed", None),
        ("NVIDIA A100-SXM4-80GB", "64-true", None),
    ],
)
def test_a_gpu_promises_what_its_data_sheet_says(
    monkeypatch: pytest.MonkeyPatch, name: str, precision: str, tera: float | None
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: name)
    assert peak_flops(torch.device("cuda"), precision) == (None if tera is None else pytest.approx(1e12 * tera))


def test_float32_without_tf32_has_another_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA A100-SXM4-80GB")
    with torch.backends.cudnn.flags(allow_tf32=False):
        assert peak_flops(torch.device("cuda"), "32-true") == pytest.approx(19.5e12)


def test_a_cpu_promises_nothing() -> None:
    assert peak_flops(torch.device("cpu"), "32-true") is None
