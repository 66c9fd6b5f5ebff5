"""Baselines: methods to hold a network against, as modules with its interface and signals (docs/baselines.md)."""

from __future__ import annotations

from zoo.baselines.bicubic import BicubicConverter
from zoo.baselines.cascade import SUPER_RESOLVERS, Cascade, cascade_card, create_cascade, load_cascade
from zoo.baselines.operators import OPERATORS, Operator
from zoo.errors import ConfigError, UnknownModelError

__all__ = [
    "BASELINES",
    "OPERATORS",
    "SUPER_RESOLVERS",
    "BicubicConverter",
    "Cascade",
    "Operator",
    "cascade_card",
    "create_baseline",
    "create_cascade",
    "load_cascade",
]

BASELINES = tuple(f"bicubic+{operator}" for operator in OPERATORS)
"""Names that ``create_baseline`` knows: bicubic enlargement before each operator."""


def create_baseline(name: str, scale: int) -> BicubicConverter:
    """Build a baseline.

    Args:
        name: one of ``BASELINES``.
        scale: 1, 2 or 4.

    Raises:
        UnknownModelError: no baseline of this name; the message names all.
        ConfigError: another scale.
    """
    if name not in BASELINES:
        raise UnknownModelError(f"no baseline {name!r}; known: {', '.join(BASELINES)}")
    if scale not in (1, 2, 4):
        raise ConfigError(f"{name} has no scale {scale!r}; choose 1, 2 or 4")
    return BicubicConverter(OPERATORS[name.removeprefix("bicubic+")], scale)
