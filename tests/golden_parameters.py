"""Put the reference parameters into our networks, and our tensors back into the authors' names and layouts.

The generators ``tests/golden/params.py`` and ``deep_sritm_shapes.py`` draw every parameter from its name and a seed.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from zoo.importers.layout import jsinet_tensor, tensor_from_hwio
from zoo.nets import DeepSRITM, Discriminator, JSINet
from zoo.nets.authors import deep_sritm_names, discriminator_names, jsinet_names

JSI_GAN_SEED = 2020
DEEP_SRITM_SEED = 11


def _generator(name: str) -> ModuleType:
    """A module of ``tests/golden``, under the name by which its neighbour imports it."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / "golden" / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


params = _generator("params")
deep_sritm_shapes = _generator("deep_sritm_shapes")


def golden_jsinet(scale: int, seed: int = JSI_GAN_SEED) -> JSINet:
    """JSInet with reference parameters, float32."""
    values = _without_scope(params.make_params(params.jsinet_shapes(scale), seed))
    net = JSINet(scale)
    net.load_state_dict({ours: jsinet_tensor(theirs, values[theirs], scale) for theirs, ours in jsinet_names().items()})
    return net


def golden_discriminator(scope: str = "Discriminator_FM", seed: int = JSI_GAN_SEED) -> Discriminator:
    """D1 (``Discriminator_FM``) or D2 (``Discriminator_Detail``) with reference parameters, float32, u not advanced."""
    values = _without_scope(params.make_params(params.discriminator_shapes(scope), seed))
    net = Discriminator()
    net.load_state_dict({ours: tensor_from_hwio(values[theirs]) for theirs, ours in discriminator_names().items()})
    return net


def golden_deep_sritm(scale: int, modulation: bool, seed: int = DEEP_SRITM_SEED, channels: int = 64) -> DeepSRITM:
    """Deep SR-ITM with reference parameters, float32."""
    values = deep_sritm_shapes.deep_sritm_params(scale, modulation, seed, channels)
    net = DeepSRITM(scale, modulation, channels)
    names = deep_sritm_names(scale, modulation)
    net.load_state_dict({ours: tensor_from_hwio(values[theirs]) for theirs, ours in names.items()})
    return net


def jsinet_array(theirs: str, tensor: Tensor, scale: int) -> np.ndarray:
    """One of our JSInet's tensors (a parameter, its gradient, a difference) in the authors' layout."""
    if theirs.startswith("image_reconstruction/conv/1/"):
        tensor = tensor.unflatten(0, (-1, scale**2)).transpose(0, 1).flatten(0, 1)
    return array_in_hwio(tensor)


def array_in_hwio(tensor: Tensor) -> np.ndarray:
    """Undo :func:`~zoo.importers.layout.tensor_from_hwio`, but for u, which stays a vector."""
    array = tensor.detach().cpu().numpy()
    return np.ascontiguousarray(array.transpose(2, 3, 1, 0)) if array.ndim == 4 else array


def pictures(array: np.ndarray, peak: float | None = None) -> Tensor:
    """Reference pictures ``(H, W, C)`` or ``(B, H, W, C)`` as ``(B, C, H, W)``.

    Args:
        peak: divide integer codes by it, in float32 as the reference did.
    """
    if peak is not None:
        array = array.astype(np.float32) / np.float32(peak)
    array = array if array.ndim == 4 else array[None]
    return torch.from_numpy(np.ascontiguousarray(array.transpose(0, 3, 1, 2)))


def _without_scope(values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name.partition("/")[2]: value for name, value in values.items()}
