"""Cascades: a super-resolver on SDR, then an operator to HDR, as the papers compare with.

A name is ``SUPERRESOLVER+OPERATOR`` or ``SUPERRESOLVER@WEIGHTS+OPERATOR``::

    edsr_x2+huo    edsr_baseline_x4@edsr_baseline_x4.pt+bt2446c    my_package.nets:Swin@swin.safetensors+masia

A super-resolver that isn't known is a class of the user's, ``module:Class``. It maps full-range R'G'B' ``(B, 3, H, W)``
to R'G'B' of ``scale`` times the size; white is its attribute ``rgb_range``, 1 without one.
"""

from __future__ import annotations

import difflib
import inspect
import os
import pickle
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import torch
from torch import Tensor, nn

from zoo.baselines.operators import OPERATORS, Operator
from zoo.color import bt1886_decode, encode, signal_to_rgb
from zoo.errors import ConfigError, UnknownModelError, WeightsError
from zoo.nets.edsr import EDSR, edsr_names
from zoo.ops.pictures import check_pictures
from zoo.registry import Card
from zoo.signal import HDR10_VIDEO, SDR_VIDEO
from zoo.weights import load_tensors, read_weights

_EDSR: dict[str, Callable[[], EDSR]] = {
    "edsr_x2": partial(EDSR, 2),
    "edsr_x4": partial(EDSR, 4),
    "edsr_baseline_x2": partial(EDSR, 2, "baseline"),
    "edsr_baseline_x4": partial(EDSR, 4, "baseline"),
}

SUPER_RESOLVERS = tuple(_EDSR)
"""Names of super-resolvers that a cascade's name may begin with, besides ``module:Class``."""

_EDSR_SOURCE = "the file of the EDSR-PyTorch release (https://github.com/sanghyun-son/EDSR-PyTorch)"
_NO_HDRCNN = (
    "no operator 'hdrcnn': Eilertsen's network needs the authors' trained_params.npz, which can't be imported, "
    "and a level in cd/m² that the papers don't state (docs/baselines.md)"
)


class Cascade(nn.Module):
    """Enlarge SDR by a super-resolver and convert it to HDR, with a network's interface and signals.

    The super-resolver gets R'G'B' of BT.709 in full range, clipped but not rounded, and its output is clipped.

    Shape: ``(B, 3, h, w)``, code / 255 on ``input_signal``, to ``(B, 3, scale h, scale w)``, code / 1023 on
    ``output_signal``, not rounded.

    Args:
        super_resolver: R'G'B' in [0, ``rgb_range``] (its attribute, else 1) to R'G'B' ``scale`` times as large.
        operator: from SDR light to HDR light.
        scale: 1, 2 or 4.

    Attributes:
        halo: the super-resolver's; None where it states none or the operator sees the whole picture.

    Raises:
        ConfigError: another scale.
    """

    input_signal = SDR_VIDEO
    output_signal = HDR10_VIDEO

    def __init__(self, super_resolver: nn.Module, operator: Operator, scale: int) -> None:
        super().__init__()
        if scale not in (1, 2, 4):
            raise ConfigError(f"a cascade has no scale {scale!r}; choose 1, 2 or 4")
        self.super_resolver = super_resolver
        self.operator = operator
        self.scale = scale
        self.halo = None if operator.whole_picture else getattr(super_resolver, "halo", None)

    def forward(self, sdr: Tensor) -> Tensor:
        """Convert; see the class.

        Raises:
            SignalError: ``sdr`` isn't float ``(B, 3, H, W)``.
            ConfigError: what the super-resolver returns isn't ``scale`` times as large.
        """
        check_pictures(sdr, self.input_signal)
        peak = float(getattr(self.super_resolver, "rgb_range", 1))
        rgb = signal_to_rgb(sdr, self.input_signal).clamp(0, 1)
        parameter = next(self.super_resolver.parameters(), rgb)
        enlarged = self.super_resolver((peak * rgb).to(parameter.dtype))
        want = (*sdr.shape[:2], *(self.scale * side for side in sdr.shape[-2:]))
        if tuple(enlarged.shape) != want:
            kind = type(self.super_resolver).__name__
            raise ConfigError(f"{kind} made {tuple(enlarged.shape)} of {tuple(sdr.shape)}, not {want}: give its scale")
        enlarged = (enlarged.to(rgb.dtype) / peak).clamp(0, 1)
        return encode(self.operator.convert(bt1886_decode(enlarged)), self.output_signal)


def create_cascade(name: str, scale: int | None = None, **arguments: Any) -> Cascade:
    """Build a cascade by its name, with the weights that the name states, else with fresh ones.

    Args:
        name: see the module.
        scale: 1, 2 or 4; a known super-resolver's is in its name.
        **arguments: of a class of the user's.

    Raises:
        UnknownModelError: no such super-resolver or operator; the message names those that are known.
        ConfigError: another scale than the super-resolver's, or none for a class of the user's; arguments that it
            doesn't take.
        WeightsError: a file that isn't this super-resolver's.
    """
    resolver, weights, operator = _parse(name)
    if resolver in _EDSR:
        net: nn.Module = _known(name, resolver, scale, arguments)
        scale = int(resolver[-1])
    else:
        if scale is None:
            raise ConfigError(f"{name} needs a scale: 1, 2 or 4")
        net = _of_the_user(resolver, scale, arguments)
    cascade = Cascade(net, OPERATORS[operator], scale)
    if weights:
        load_super_resolver(net, weights)
    return cascade


def load_cascade(name: str, weights: str | os.PathLike[str] | None = None, scale: int | None = None) -> Cascade:
    """Build a cascade with trained weights.

    Args:
        name: see the module.
        weights: of the super-resolver, a safetensors or ``.pt`` file, unless the name states it.
        scale: as in ``create_cascade``.

    Raises:
        UnknownModelError, ConfigError: as in ``create_cascade``; weights stated twice.
        WeightsError: no weights, or a file that isn't this super-resolver's.
    """
    stated = _parse(name)[1]
    if stated and weights is not None:
        raise ConfigError(f"{name} states its weights; leave out {weights}")
    cascade = create_cascade(name, scale)
    if weights is not None:
        load_super_resolver(cascade.super_resolver, weights)
    elif not stated and any(True for _ in cascade.super_resolver.parameters()):
        resolver, _, operator = _parse(name)
        source = _EDSR_SOURCE if resolver in _EDSR else "a safetensors or .pt file of its state dict"
        raise WeightsError(f"{name} needs weights: give {source} as {resolver}@PATH+{operator}")
    return cascade


def cascade_card(name: str) -> Card:
    """What is known of a cascade: its parameters are the super-resolver's, 0 for a class of the user's.

    Raises:
        UnknownModelError: as ``create_cascade``.
    """
    resolver, _, operator = _parse(name)
    parameters = 0
    if resolver in _EDSR:
        with torch.device("meta"):
            parameters = sum(parameter.numel() for parameter in _EDSR[resolver]().parameters())
    return Card(
        name=name,
        summary=f"{resolver}, then the operator {operator}",
        net="zoo.baselines:create_cascade",
        args={"name": name},
        parameters=parameters,
        input=str(SDR_VIDEO),
        output=str(HDR10_VIDEO),
        paper="B. Lim et al.: Enhanced Deep Residual Networks for Single Image Super-Resolution, CVPR workshops 2017"
        if resolver in _EDSR
        else "the user's own",
    )


def load_super_resolver(net: nn.Module, path: str | os.PathLike[str]) -> None:
    """Read a super-resolver's weights: safetensors, or a ``.pt`` or ``.pth`` file of tensors alone.

    Names are the network's own or, for EDSR, the authors'. A file may wrap its tensors in ``state_dict``, ``params``,
    ``params_ema`` or ``model``, and their names in ``module.`` or ``model.``.

    Raises:
        WeightsError: no such file, one that holds more than tensors, or one that isn't this network's.
    """
    tensors = read_weights(path)[0] if str(path).endswith(".safetensors") else _read_pt(Path(path))
    for prefix in ("module.", "model."):
        if tensors and all(key.startswith(prefix) for key in tensors):
            tensors = {key.removeprefix(prefix): tensor for key, tensor in tensors.items()}
    if isinstance(net, EDSR) and "head.0.weight" in tensors:
        tensors = _renamed(net, tensors, path)
    load_tensors(net, tensors, path)


def _parse(name: str) -> tuple[str, str, str]:
    """Super-resolver, path of its weights or "", and operator."""
    front, _, operator = name.rpartition("+")
    resolver, _, weights = front.partition("@")
    if resolver not in _EDSR and ":" not in resolver:
        known = ("bicubic", *_EDSR)
        near = difflib.get_close_matches(resolver, known, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise UnknownModelError(f"no super-resolver {resolver!r}; {hint}known: {', '.join(known)}, or module:Class")
    if operator == "hdrcnn":
        raise UnknownModelError(_NO_HDRCNN)
    if operator not in OPERATORS:
        raise UnknownModelError(f"no operator {operator!r}; known: {', '.join(OPERATORS)}")
    return resolver, weights, operator


def _known(name: str, resolver: str, scale: int | None, arguments: Mapping[str, Any]) -> EDSR:
    if scale not in (None, int(resolver[-1])):
        others = [other for other in _EDSR if other[:-1] == resolver[:-1] and other[-1] == str(scale)]
        use = f"use {others[0]}" if others else "bicubic has all scales"
        raise ConfigError(f"{name} has scale {resolver[-1]}, not {scale!r}; {use}")
    if arguments:
        raise ConfigError(f"{name} takes no argument {next(iter(arguments))!r}; {resolver} is fixed")
    return _EDSR[resolver]()


def _of_the_user(resolver: str, scale: int, arguments: Mapping[str, Any]) -> nn.Module:
    try:
        maker = resolve_name(resolver)
    except (ImportError, AttributeError, ValueError) as error:
        raise UnknownModelError(f"no super-resolver {resolver!r} ({error}); give module:Class") from error
    try:
        parameters = inspect.signature(maker).parameters
        net = maker(**({"scale": scale} if "scale" in parameters else {}), **arguments)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{resolver} can't be built: {error}") from error
    if not isinstance(net, nn.Module):
        raise ConfigError(f"{resolver} is no torch module but {type(net).__name__}")
    own = getattr(net, "scale", scale)
    if isinstance(own, int) and own != scale:
        raise ConfigError(f"{resolver} has scale {own}, not {scale}")
    return net


def _read_pt(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise WeightsError(f"no weights file {path}")
    try:
        data = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise WeightsError(f"{path} can't be read as tensors alone ({reason}); save its state dict") from error
    for key in ("params_ema", "params", "state_dict", "model"):
        if isinstance(data, Mapping) and isinstance(data.get(key), Mapping):
            data = data[key]
            break
    if not isinstance(data, Mapping) or not data or not all(isinstance(value, Tensor) for value in data.values()):
        raise WeightsError(f"{path} holds no state dict of tensors")
    broken = next((key for key, value in data.items() if not value.isfinite().all()), None)
    if broken is not None:
        raise WeightsError(f"{path}: tensor {broken} holds NaN or infinity; these weights are of no use")
    return {str(key): value.detach() for key, value in data.items()}


def _renamed(net: EDSR, tensors: Mapping[str, Tensor], path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The authors' tensors under our names; a name that isn't theirs stays, for ``load_tensors`` to refuse."""
    mean = tensors.get("sub_mean.bias")
    if mean is not None and mean.abs().max() < 1.5:  # the mean of R'G'B' in [0, 1]
        raise WeightsError(f"{path} was trained on R'G'B' in [0, 1]; EDSR here takes [0, {net.rgb_range:g}]")
    names = edsr_names(net)
    constants = ("sub_mean.", "add_mean.")
    return {names.get(key, key): tensor for key, tensor in tensors.items() if not key.startswith(constants)}
