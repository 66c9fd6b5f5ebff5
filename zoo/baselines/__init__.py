"""Baselines: methods that learn nothing, as modules with a network's interface and signals; see their cards."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from zoo.baselines.bicubic import BicubicConverter
from zoo.color import bt2446a_inverse, bt2446a_table4, bt2446c_inverse, convert_primaries, reinhard_inverse
from zoo.color.transfer import SDR_WHITE
from zoo.errors import ConfigError, UnknownModelError

__all__ = ["BASELINES", "BicubicConverter", "create_baseline"]


def _white100(light: Tensor) -> Tensor:
    return convert_primaries(light, "bt709", "bt2020")


def _white203(light: Tensor) -> Tensor:
    return 203 / SDR_WHITE * _white100(light)


def _bt2446c(light: Tensor) -> Tensor:
    return bt2446c_inverse(convert_primaries(light, "bt709", "bt2020"))


def _bt2446a(light: Tensor) -> Tensor:
    return bt2446a_inverse(convert_primaries(light, "bt709", "bt2020"))


def _bt2446a_table4(light: Tensor) -> Tensor:
    return bt2446a_table4(convert_primaries(light, "bt709", "bt2020"))


def _oracle(light: Tensor) -> Tensor:
    return convert_primaries(reinhard_inverse(light), "bt709", "bt2020")


# From SDR light, BT.709 primaries with white at 100 cd/m², to HDR light on BT.2020 primaries. Functions with names, so
# that a baseline can be pickled.
_CONVERTERS: dict[str, Callable[[Tensor], Tensor]] = {
    "bicubic+white100": _white100,
    "bicubic+white203": _white203,
    "bicubic+bt2446c": _bt2446c,
    "bicubic+bt2446a": _bt2446a,
    "bicubic+bt2446a-table4": _bt2446a_table4,
    "bicubic+oracle": _oracle,
}

BASELINES = tuple(_CONVERTERS)
"""Names that ``create_baseline`` knows."""


def create_baseline(name: str, scale: int) -> BicubicConverter:
    """Build a baseline.

    Args:
        name: one of ``BASELINES``.
        scale: 1, 2 or 4.

    Raises:
        UnknownModelError: no baseline of this name; the message names all.
        ConfigError: another scale.
    """
    if name not in _CONVERTERS:
        raise UnknownModelError(f"no baseline {name!r}; known: {', '.join(BASELINES)}")
    if scale not in (1, 2, 4):
        raise ConfigError(f"{name} has no scale {scale!r}; choose 1, 2 or 4")
    return BicubicConverter(_CONVERTERS[name], scale)
