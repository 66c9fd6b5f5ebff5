"""Deterministic parameters for the golden arrays, so that no weights need be stored.

Every array depends on its own name and on the seed alone: neither the order of the dictionary nor
the other entries matter. Names and layouts are those of the TensorFlow graphs (kernels HWIO).

    params = make_params(jsinet_shapes(scale=2), seed=7)

NumPy only. Draws are ``Generator(PCG64).random()`` in float64 (stable across NumPy versions), scaled
in float64, then rounded once to float32.
"""

from __future__ import annotations

import hashlib

import numpy as np

Shapes = dict[str, tuple[int, ...]]


def uniform(name: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Float64 draws in [0, 1), seeded by ``seed`` and the first 8 bytes of SHA-256(name)."""
    digest = hashlib.sha256(name.encode("utf-8")).digest()
    key = np.random.SeedSequence([seed, int.from_bytes(digest[:8], "little")])
    return np.random.Generator(np.random.PCG64(key)).random(tuple(shape))


def make_params(shapes: Shapes, seed: int) -> dict[str, np.ndarray]:
    """Float32 arrays for ``shapes``; the last part of each name decides the distribution.

    ==========================  =================================================================
    ``w``, ``kernel``,          uniform in +-sqrt(6 / (fan_in + fan_out)), fans of an HWIO kernel
    ``weights``
    ``gamma``                   uniform in [0.8, 1.2)
    ``moving_variance``         uniform in [0.5, 1.5)
    ``u``                       uniform in [-1, 1): spectral norm's start vector, not normalised
    anything else               uniform in [-0.1, 0.1): biases, beta, moving_mean
    ==========================  =================================================================

    Two exceptions keep an untrained JSInet's output near [0, 1], so that guided filter and division
    are tested where they work: ``conv_k_h`` and ``conv_k_v`` (w and b) are multiplied by 0.1, and
    0.5 is added to ``image_reconstruction/conv/2/b``.
    """
    params = {}
    for name, shape in shapes.items():
        draw = uniform(name, shape, seed)
        kind = name.rsplit("/", 1)[-1]
        if kind in ("w", "kernel", "weights"):
            area = int(np.prod(shape[:-2]))
            bound = np.sqrt(6.0 / (area * (shape[-2] + shape[-1])))
            value = (2 * draw - 1) * bound
        elif kind == "gamma":
            value = 0.8 + 0.4 * draw
        elif kind == "moving_variance":
            value = 0.5 + draw
        elif kind == "u":
            value = 2 * draw - 1
        else:
            value = 0.2 * draw - 0.1
        if "/conv_k_h/" in name or "/conv_k_v/" in name:
            value = 0.1 * value
        elif name.endswith("image_reconstruction/conv/2/b"):
            value = value + 0.5
        params[name] = value.astype(np.float32)
    return params


def jsinet_shapes(scale: int, scope: str = "Network") -> Shapes:
    """JSInet's variables in creation order (see networks/jsi_gan.md)."""
    shapes: Shapes = {}

    def conv(name: str, c_in: int, c_out: int) -> None:
        shapes[f"{scope}/{name}/w"] = (3, 3, c_in, c_out)
        shapes[f"{scope}/{name}/b"] = (c_out,)

    def blocks(subnet: str, first_in: dict[int, int]) -> None:
        conv(f"{subnet}/conv/0", 3, 64)
        for i in range(4):
            conv(f"{subnet}/res_block/{i}/conv/0", first_in.get(i, 64), 64)
            conv(f"{subnet}/res_block/{i}/conv/1", 64, 64)

    area = scale * scale
    blocks("local_contrast_enhancement", {})
    conv("local_contrast_enhancement/conv_k", 64, 81 * area)
    blocks("detail_restoration", {})
    conv("detail_restoration/conv_k_h", 64, 41 * area)
    conv("detail_restoration/conv_k_v", 64, 41 * area)
    blocks("image_reconstruction", {1: 128})
    conv("image_reconstruction/conv/1", 64, 64 * area)
    conv("image_reconstruction/conv/2", 64, 3)
    return shapes


def discriminator_shapes(scope: str) -> Shapes:
    """One discriminator's variables, not trained ones included, in creation order.

    ``scope`` is ``Discriminator_FM`` (D1, images) or ``Discriminator_Detail`` (D2, detail layers).
    """
    shapes: Shapes = {}

    def conv(index: int, size: int, c_in: int, c_out: int, bias: bool = False) -> None:
        shapes[f"{scope}/d_conv/{index}/kernel"] = (size, size, c_in, c_out)
        shapes[f"{scope}/d_conv/{index}/u"] = (1, c_out)
        if bias:
            shapes[f"{scope}/d_conv/{index}/bias"] = (c_out,)

    def norm(index: int, c: int) -> None:
        for part in ("beta", "gamma", "moving_mean", "moving_variance"):
            shapes[f"{scope}/d_bn/{index}/{part}"] = (c,)

    conv(1, 3, 3, 32, bias=True)
    c = 32
    for i in range(4):
        conv(2 * i + 2, 4, c, c)
        norm(2 * i + 1, c)
        conv(2 * i + 3, 3, c, 2 * c)
        norm(2 * i + 2, 2 * c)
        c *= 2
    conv(10, 4, c, c)
    norm(9, c)
    conv(11, 5, c, c)
    norm(10, c)
    conv(12, 1, c, 1)
    norm(11, 1)
    return shapes


if __name__ == "__main__":
    for title, table in (
        ("JSInet x2", jsinet_shapes(2)),
        ("JSInet x4", jsinet_shapes(4)),
        ("discriminator", discriminator_shapes("Discriminator_FM")),
    ):
        untrained = ("u", "moving_mean", "moving_variance")
        trained = sum(int(np.prod(s)) for n, s in table.items() if n.rsplit("/", 1)[-1] not in untrained)
        print(f"{title}: {len(table)} arrays, {trained} trained values")
