"""RGB primaries: matrices between linear RGB spaces and CIE XYZ, and their use on pictures."""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache

import torch
from torch import Tensor

from zoo.precision import at_least_float32

Matrix = tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]]
_Exact = tuple[tuple[Fraction, ...], ...]

# Chromaticities x, y of red, green and blue: ITU-R BT.709-6 (item 1.3), BT.2020-2 (Table 3), SMPTE EG 432-1 (P3 with
# D65), ITU-R BT.601-7 (item 1.4: 525 lines as SMPTE ST 170, 625 lines as BT.470 system B, G).
_CHROMATICITIES = {
    "bt709": (("0.640", "0.330"), ("0.300", "0.600"), ("0.150", "0.060")),
    "bt2020": (("0.708", "0.292"), ("0.170", "0.797"), ("0.131", "0.046")),
    "p3d65": (("0.680", "0.320"), ("0.265", "0.690"), ("0.150", "0.060")),
    "smpte170m": (("0.630", "0.340"), ("0.310", "0.595"), ("0.155", "0.070")),
    "bt470bg": (("0.640", "0.330"), ("0.290", "0.600"), ("0.150", "0.060")),
}
_D65 = ("0.3127", "0.3290")


def _xyz(chromaticity: tuple[str, str]) -> tuple[Fraction, Fraction, Fraction]:
    """CIE XYZ of a chromaticity, at Y = 1."""
    x, y = map(Fraction, chromaticity)
    return x / y, Fraction(1), (1 - x - y) / y


def _inverse(m: _Exact) -> _Exact:
    """Inverse of a 3x3 matrix by its cofactors."""
    cofactors = [
        [
            m[(i + 1) % 3][(j + 1) % 3] * m[(i + 2) % 3][(j + 2) % 3]
            - m[(i + 1) % 3][(j + 2) % 3] * m[(i + 2) % 3][(j + 1) % 3]
            for j in range(3)
        ]
        for i in range(3)
    ]
    determinant = sum(m[0][j] * cofactors[0][j] for j in range(3))
    return tuple(tuple(cofactors[j][i] / determinant for j in range(3)) for i in range(3))


def _product(a: _Exact, b: _Exact) -> _Exact:
    columns = tuple(zip(*b, strict=True))
    return tuple(tuple(sum(p * q for p, q in zip(row, column, strict=True)) for column in columns) for row in a)


def _exact_rgb_to_xyz(primaries: str) -> _Exact:
    """Columns are the primaries' XYZ, each scaled so that R = G = B = 1 gives white (SMPTE RP 177)."""
    columns = tuple(zip(*(_xyz(chromaticity) for chromaticity in _CHROMATICITIES[primaries]), strict=True))
    white = tuple((value,) for value in _xyz(_D65))
    scales = [row[0] for row in _product(_inverse(columns), white)]
    return tuple(tuple(value * scale for value, scale in zip(row, scales, strict=True)) for row in columns)


def _rounded(m: _Exact) -> Matrix:
    r, g, b = (tuple(map(float, row)) for row in m)
    return r, g, b  # type: ignore[return-value]  # rows of three


@lru_cache
def rgb_to_xyz_matrix(primaries: str) -> Matrix:
    """Matrix from linear RGB to CIE XYZ, derived from the chromaticities (SMPTE RP 177) in exact fractions.

    Args:
        primaries: as ``zoo.signal.Signal`` names them.

    Returns:
        Rows X, Y, Z as Python floats; R = G = B = 1 gives D65 at Y = 1.
    """
    return _rounded(_exact_rgb_to_xyz(primaries))


@lru_cache
def primaries_matrix(source: str, target: str) -> Matrix:
    """Matrix from linear RGB of one set of primaries to that of another, both with white D65.

    Derived in exact fractions, so not rounded as the one printed in ITU-R BT.2087.

    Args:
        source: as ``zoo.signal.Signal`` names them.
        target: likewise.

    Returns:
        Rows R, G, B as Python floats.
    """
    return _rounded(_product(_inverse(_exact_rgb_to_xyz(target)), _exact_rgb_to_xyz(source)))


def apply_matrix(matrix: Matrix, x: Tensor) -> Tensor:
    """Multiply each pixel by a 3x3 matrix.

    Written as sums of planes: a matrix product would be run in half precision under autocast, and its rounding would
    depend on the size of the picture.

    Args:
        matrix: rows as Python floats, which take the tensor's precision.
        x: ``(..., 3, H, W)``.

    Returns:
        Same shape.
    """
    r, g, b = at_least_float32(x).unbind(-3)
    return torch.stack([row[0] * r + row[1] * g + row[2] * b for row in matrix], dim=-3)


def convert_primaries(light: Tensor, source: str, target: str) -> Tensor:
    """Linear light on one set of primaries to the same light on another.

    Args:
        light: ``(..., 3, H, W)``, linear RGB in any unit.
        source: primaries of ``light``, as ``zoo.signal.Signal`` names them.
        target: primaries wanted.

    Returns:
        Same shape and unit. Colours outside the target's gamut have negative parts; nothing is clipped.
    """
    return apply_matrix(primaries_matrix(source, target), light)
