"""Names, shapes and deterministic values of Deep SR-ITM's parameters, in creation order.

Names are the ones in the authors' released network definition; kernels are HWIO
(height, width, input channels, output channels), biases (output channels,).

    params = deep_sritm_params(scale=2, modulation=True, seed=11)   # name -> float32 array

NumPy only (through ``params.py``).
"""

from __future__ import annotations

import numpy as np
from params import make_params

Shapes = dict[str, tuple[int, ...]]


def deep_sritm_shapes(scale: int, modulation: bool, channels: int = 64) -> Shapes:
    """Every parameter of the base (``modulation=False``) or the full network, in creation order."""
    table: Shapes = {}
    c = channels

    def conv(stem: str, index: int, c_in: int, c_out: int, size: int = 3) -> None:
        table[f"{stem}_{index}f"] = (size, size, c_in, c_out)
        table[f"{stem}_{index}b"] = (c_out,)

    def shared_features(stem: str) -> None:
        for index, c_in in ((1, 6), (2, c), (3, c)):
            conv(stem, index, c_in, c)

    if modulation:
        shared_features("convbs")
    conv("conv", 1, 6, c)
    for n in range(2, 13, 2):
        conv("conv", n, c, c)
        conv("conv", n + 1, c, c)
        if modulation and n % 4 == 0:
            conv("convbm", n // 2 - 1, c, c)
            conv("convbm", n // 2, c, c)
    if modulation:
        shared_features("convds")
    conv("convd", 1, 6, c)
    conv("convd", 2, c, c)
    conv("convd", 3, c, c)
    for n in range(4, 13, 2):
        conv("dr", n - 1, 2 * c, c, size=1)
        conv("convd", n, c, c)
        conv("convd", n + 1, c, c)
        if modulation and n % 4 == 0:
            conv("convdm", n // 2 - 1, c, c)
            conv("convdm", n // 2, c, c)
    conv("dr", 13, 2 * c, c, size=1)
    for index in range(14, 36):
        conv("conv", index, c, c)
    last = 36
    for _ in range({1: 0, 2: 1, 4: 2}[scale]):
        conv("conv", last, c, 4 * c)
        last += 1
    if scale == 1:
        conv("conv", last, c, c)
        last += 1
    conv("conv", last, c, 3)
    return table


def deep_sritm_params(scale: int, modulation: bool, seed: int, channels: int = 64) -> dict[str, np.ndarray]:
    """Values from ``params.make_params``, drawn under ``<name>/w`` (kernels) and ``<name>/b`` (biases)."""
    shapes = deep_sritm_shapes(scale, modulation, channels)
    keyed = {f"{n}/{'w' if len(s) == 4 else 'b'}": s for n, s in shapes.items()}
    return {k.rsplit("/", 1)[0]: v for k, v in make_params(keyed, seed).items()}


if __name__ == "__main__":
    for scale in (1, 2, 4):
        for modulation in (False, True):
            table = deep_sritm_shapes(scale, modulation)
            total = sum(int(np.prod(s)) for s in table.values())
            kernels = sum(int(np.prod(s)) for s in table.values() if len(s) == 4)
            kind = "full" if modulation else "base"
            print(f"x{scale} {kind}: {len(table)} tensors, {total} values, {kernels} of them in kernels")
