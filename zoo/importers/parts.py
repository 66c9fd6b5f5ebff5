"""Which networks one of the authors' files should hold, and whether its arrays are all of theirs and no others."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from math import prod
from pathlib import Path
from statistics import mode
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from zoo.errors import WeightsError
from zoo.importers.layout import jsinet_tensor, tensor_from_hwio
from zoo.nets.authors import deep_sritm_names, discriminator_names, jsinet_names, multipurpose_cnn_names
from zoo.nets.discriminator import Discriminator
from zoo.registry import create, info

MATCONVNET = ("deep_sritm_x2", "deep_sritm_x4", "multipurpose_cnn_x2", "multipurpose_cnn_x4")
TENSORFLOW = ("jsinet_x2", "jsinet_x4", "jsigan_x2", "jsigan_x4")

DISCRIMINATORS = {"D1": "Discriminator_FM/", "D2": "Discriminator_Detail/"}  # their scopes in a checkpoint

_MOST_CHANNELS = 256  # a network of more would take long to build, and none was released
_GENERATOR = "Network/"
# The GAN stage's three Adams live in this scope, behind which come the whole names of their variables.
_GAN_STAGE = "Include_DetailGAN/"
_SLOT = re.compile(rf"(?:{_GAN_STAGE})?(?P<variable>.+)/Adam(?:_1)?")
_COUNTER = re.compile(rf"(?:{_GAN_STAGE})?beta[12]_power(?:_\d+)?|Variable(?:_\d+)?|global_step")


class Stored(Protocol):
    """An array as a file holds it, read or not."""

    @property
    def shape(self) -> tuple[int, ...]:
        """In the authors' order of axes."""

    @property
    def dtype(self) -> np.dtype:
        """Type of its numbers."""


@dataclass(frozen=True)
class Part:
    """A network in a file.

    Attributes:
        label: empty for the network that is loaded by name, else ``D1`` or ``D2``.
        net: ``module:class``.
        args: that build the network for these tensors.
        names: the authors' to ours.
        shapes: of our tensors.
        convert: an array in our layout, given the authors' name for it.
    """

    label: str
    net: str
    args: Mapping[str, Any]
    names: Mapping[str, str]
    shapes: Mapping[str, tuple[int, ...]]
    convert: Callable[[str, np.ndarray], Tensor]


def expected_parts(name: str, held: Mapping[str, Stored]) -> list[Part]:
    """What a file should hold to be ``name``'s, the network itself first.

    Some things only the file says: whether Deep SR-ITM has its modulation (the authors' first training stage hasn't)
    and how many channels, and whether the discriminators are there.

    Args:
        name: one of ``MATCONVNET`` and ``TENSORFLOW``.
        held: the file's arrays by the authors' names.
    """
    card = info(name)
    if name in TENSORFLOW:
        scale = card.args["scale"]
        names = {f"{_GENERATOR}{theirs}": ours for theirs, ours in jsinet_names().items()}
        generator = _part(
            name, names, lambda theirs, array: jsinet_tensor(theirs.removeprefix(_GENERATOR), array, scale)
        )
        return [generator, *(_discriminators() if name.startswith("jsigan") and _has_discriminators(held) else ())]
    if name.startswith("multipurpose_cnn"):
        return [_part(name, multipurpose_cnn_names())]
    modulation = any(re.match("conv[bd][sm]_", theirs) for theirs in held)
    names = deep_sritm_names(card.args["scale"], modulation)
    # Most layers are as wide as the network. A width that no network has will be found out by its shapes.
    widths = [prod(held[theirs].shape) for theirs in names if theirs.endswith("b") and theirs in held]
    channels = mode(widths) if widths else 0
    return [_part(name, names, modulation=modulation, channels=channels if 0 < channels <= _MOST_CHANNELS else 64)]


def _part(
    name: str,
    names: Mapping[str, str],
    convert: Callable[[str, np.ndarray], Tensor] = lambda theirs, array: tensor_from_hwio(array),
    **args: Any,
) -> Part:
    card = info(name)
    return Part("", card.net, {**card.args, **args}, names, _shapes(create(name, **args)), convert)


@cache  # building two of 13.7 million parameters takes a second
def _discriminators() -> list[Part]:
    shapes = _shapes(Discriminator())
    net = f"{Discriminator.__module__}:{Discriminator.__name__}"
    return [
        Part(
            label,
            net,
            {},
            {f"{scope}{theirs}": ours for theirs, ours in discriminator_names().items()},
            shapes,
            lambda theirs, array: tensor_from_hwio(array),
        )
        for label, scope in DISCRIMINATORS.items()
    ]


def _shapes(net: nn.Module) -> dict[str, tuple[int, ...]]:
    return {key: tuple(tensor.shape) for key, tensor in net.state_dict().items()}


def _has_discriminators(held: Mapping[str, Stored]) -> bool:
    return any(theirs.startswith(tuple(DISCRIMINATORS.values())) for theirs in held)


def check_parts(name: str, parts: list[Part], held: Mapping[str, Stored], source: Path) -> list[str]:
    """Refuse a file that doesn't hold exactly the arrays of ``parts``, by names, shapes and types.

    Of a TensorFlow checkpoint, what training keeps beside the networks is left out by rule: Adam's two moments of a
    variable that is there too, of the same shape, and single numbers that are Adam's powers of beta or the count of
    steps.

    Returns:
        Names that were left out.

    Raises:
        WeightsError: an array is missing, surplus, of another shape or no float; it is named. Or the checkpoint is of
            JSI-GAN's other stage.
    """
    try:
        return _checked(name, parts, held, source)
    except WeightsError as error:
        others = [other for other in (TENSORFLOW if name in TENSORFLOW else MATCONVNET) if _fits(other, held, source)]
        raise (WeightsError(f"{error}; it fits {' or '.join(others)}") if others else error) from None


def _fits(name: str, held: Mapping[str, Stored], source: Path) -> bool:
    try:
        _checked(name, expected_parts(name, held), held, source)
    except WeightsError:
        return False
    return True


def _checked(name: str, parts: list[Part], held: Mapping[str, Stored], source: Path) -> list[str]:
    if name in TENSORFLOW:
        _check_stage(name, held, source)
    names = {theirs: (part, ours) for part in parts for theirs, ours in part.names.items()}
    state = [key for key in held if name in TENSORFLOW and key not in names and _is_training_state(key, held)]
    surplus = held.keys() - names.keys() - set(state)
    for verb, wrong in (("lacks", names.keys() - held.keys()), ("has an unknown", surplus)):
        if wrong:
            more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
            raise WeightsError(f"{source} {verb} tensor {min(wrong)}{more}: it is not {name}'s")
    for theirs, (part, ours) in names.items():
        stored, want = held[theirs], part.shapes[ours]
        if not _has_shape(stored.shape, want):
            own = (*want[2:], want[1], want[0]) if len(want) == 4 else want
            raise WeightsError(f"{source}: tensor {theirs} has shape {stored.shape}, {name} needs {own}")
        if stored.dtype.kind != "f" or stored.dtype.itemsize < 4:
            raise WeightsError(f"{source}: tensor {theirs} is {stored.dtype.name}; the authors' weights are float32")
    return state


def _check_stage(name: str, held: Mapping[str, Stored], source: Path) -> None:
    """JSInet and JSI-GAN's generator are the same network: what else is in a checkpoint tells them apart."""
    is_gan = _has_discriminators(held) or any(key.startswith(_GAN_STAGE) for key in held)
    # A file of a generator alone may be either's.
    is_first = not is_gan and any(_SLOT.fullmatch(key) for key in held)
    if name.startswith("jsinet") and is_gan:
        raise WeightsError(f"{source} is a checkpoint of JSI-GAN, with discriminators: it is not {name}'s")
    if name.startswith("jsigan") and is_first:
        raise WeightsError(f"{source} is a checkpoint of JSInet, before the GAN stage: it is not {name}'s")


def _is_training_state(key: str, held: Mapping[str, Stored]) -> bool:
    if slot := _SLOT.fullmatch(key):
        variable = held.get(slot["variable"])
        return variable is not None and variable.shape == held[key].shape
    return _COUNTER.fullmatch(key) is not None and held[key].shape == ()


def _has_shape(theirs: tuple[int, ...], ours: tuple[int, ...]) -> bool:
    if len(ours) == 4:
        return theirs == (*ours[2:], ours[1], ours[0])
    # A vector; MATLAB has it as a column, spectral norm's u is a row.
    return max(theirs, default=0) == prod(theirs) == ours[0]


def our_tensors(part: Part, read: Callable[[str], np.ndarray], source: Path) -> dict[str, Tensor]:
    """The part's tensors by our names, float32, in our layout.

    Args:
        read: gives an array by the authors' name.

    Raises:
        WeightsError: an array holds NaN or infinity; it is named.
    """
    tensors = {}
    for theirs, ours in part.names.items():
        tensor = part.convert(theirs, read(theirs).astype(np.float32))
        if not torch.isfinite(tensor).all():
            raise WeightsError(f"{source}: tensor {theirs} holds NaN or infinity; these weights are of no use")
        tensors[ours] = tensor
    return tensors
