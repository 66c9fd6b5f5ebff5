"""Operators from SDR light to HDR light by their names: what stands behind the ``+`` of a baseline."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from torch import Tensor

from zoo.baselines import expansion
from zoo.color import bt2446a_inverse, bt2446a_table4, bt2446c_inverse, convert_primaries, reinhard_inverse
from zoo.color.transfer import SDR_WHITE


@dataclass(frozen=True)
class Operator:
    """A conversion that learns nothing.

    Attributes:
        convert: SDR display light, linear RGB on BT.709 primaries in cd/m², [0, 100], to HDR display light on BT.2020
            primaries in cd/m²; ``(B, 3, H, W)`` both. A function with a name, so that it can be pickled.
        whole_picture: whether an output pixel depends on all of the picture, so that tiles give another result.
    """

    convert: Callable[[Tensor], Tensor]
    whole_picture: bool = False


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


def _kovaleski(light: Tensor) -> Tensor:
    return convert_primaries(expansion.kovaleski(light), "bt709", "bt2020")


def _masia(light: Tensor) -> Tensor:
    return convert_primaries(expansion.masia(light), "bt709", "bt2020")


def _huo(light: Tensor) -> Tensor:
    return convert_primaries(expansion.huo(light), "bt709", "bt2020")


OPERATORS: Mapping[str, Operator] = MappingProxyType(
    {
        "white100": Operator(_white100),
        "white203": Operator(_white203),
        "bt2446c": Operator(_bt2446c),
        "bt2446a": Operator(_bt2446a),
        "bt2446a-table4": Operator(_bt2446a_table4),
        "oracle": Operator(_oracle),
        "kovaleski": Operator(_kovaleski, whole_picture=True),
        "masia": Operator(_masia, whole_picture=True),
        "huo": Operator(_huo, whole_picture=True),
    }
)
"""The operators by name: static converters first, then the papers' expansion operators."""
