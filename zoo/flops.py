"""How much arithmetic something is, and how much a device could do in the same time."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

# TFLOP/s without sparsity, as NVIDIA's data sheets have them: half precision with float32 sums, TF32, float32. A device
# is the first whose name is found as a word; -1 is what it doesn't have.
_PEAKS = {
    "H200": (989.4, 494.7, 66.9),
    "H100 PCIe": (756.0, 378.0, 51.2),
    "H100 NVL": (835.0, 417.5, 60.0),
    "H100": (989.4, 494.7, 66.9),
    "A100": (312.0, 156.0, 19.5),
    "A40": (149.7, 74.8, 37.4),
    "A10": (125.0, 62.5, 31.2),
    "RTX A6000": (154.8, 77.4, 38.7),
    "L40S": (362.0, 183.0, 91.6),
    "L4": (121.0, 60.0, 30.3),
    "RTX 4090": (165.2, 82.6, 82.6),
    "RTX 3090": (71.0, 35.6, 35.6),
    "V100": (125.0, -1.0, 15.7),
    "T4": (65.0, -1.0, 8.1),
}


class FlopCounter(TorchDispatchMode):
    """A context that counts floating-point operations of convolutions and matrix products, backward passes included.

    A multiplication with its addition counts as two. Everything else is left out: of the networks here it is a
    thousandth. (torch's own counter also follows modules with hooks and takes operators apart; this one changes nothing
    of what runs in it.)

    Attributes:
        total: operations so far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operator, and add what it is."""
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if (count := flop_registry.get(func._overloadpacket)) is not None:
            self.total += count(*args, **kwargs, out_val=out)
        return out


def peak_flops(device: torch.device, precision: str) -> float | None:
    """Most operations in a second that the maker promises of a device.

    Args:
        device: where the arithmetic is done.
        precision: as the trainer's, such as ``bf16-mixed`` or ``32-true``, which on a GPU means TF32 where torch lets
            convolutions use it.

    Returns:
        None for a CPU, a device that isn't in the table, and a precision that the device lacks.
    """
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    peaks = next((peaks for known, peaks in _PEAKS.items() if re.search(rf"\b{known}\b", name)), None)
    if peaks is None or "Laptop" in name:  # slower than its namesake
        return None
    half, tf32, single = peaks
    if precision.startswith(("16", "bf16")):
        peak = half
    elif precision.startswith("32"):
        peak = tf32 if torch.backends.cudnn.allow_tf32 and tf32 > 0 else single
    else:
        return None
    return 1e12 * peak
