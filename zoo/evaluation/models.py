"""From what a user calls a model to a module in eval mode: names, weights files, run folders, baselines."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

import zoo
from zoo.errors import ConfigError, SignalError, UnknownModelError, WeightsError
from zoo.evaluation.provenance import source_digest
from zoo.files import sha256_of
from zoo.registry import card_of, find_weights
from zoo.signal import HDR10_VIDEO, SDR_VIDEO
from zoo.weights import WEIGHTS_NAME, read_weights


@dataclass(frozen=True)
class ModelRequest:
    """What ``--model`` names, before anything is built.

    Attributes:
        label: how the tables call it: as the user does.
        name: of the zoo.
        weights: a file of its weights; None for published ones and baselines.
        scale: the one it has; None for what comes in all scales.
        weights_in_name: the file that a cascade's name states.
    """

    label: str
    name: str
    weights: Path | None
    scale: int | None
    weights_in_name: Path | None = None


@dataclass(frozen=True)
class EvaluatedModel:
    """A model ready to be scored.

    Attributes:
        label: how the tables call it.
        name: of the zoo.
        scale: HR over LR size.
        net: in eval mode, on the device.
        parameters: how many it has.
        sha256: of its weights file; None without one.
        source: digest of the code of a super-resolver of the user's own; None for what is of the zoo.
    """

    label: str
    name: str
    scale: int
    net: nn.Module
    parameters: int
    sha256: str | None
    source: str | None = None


def parse_model(text: str) -> ModelRequest:
    """Find out what ``--model`` means.

    Args:
        text: a name of the zoo (``jsinet_x2``, ``jsinet_x2.v1``, a baseline, a cascade such as ``edsr_x2@FILE+huo``); a
            safetensors file whose metadata say what it is; the folder of a run; or ``NAME=FILE`` for a file that
            doesn't say.

    Raises:
        WeightsError: no such file, a checkpoint, or a file that doesn't say what it is of.
        UnknownModelError: no such name.
    """
    path = Path(text)
    name, stated, file = text.partition("=")
    if stated and not path.exists():
        return ModelRequest(text, name, _weights_file(Path(file), is_cascade="+" in name), _scale_of(name))
    if "+" in text and not path.exists():
        in_name = text.partition("@")[2].rpartition("+")[0]
        return ModelRequest(text, text, None, _scale_of(text), Path(in_name) if in_name else None)
    # A slash is in no name; such a path deserves to be told that nothing is there.
    if path.suffix in (".safetensors", ".ckpt", ".pt", ".pth") or path.exists() or "/" in text:
        file_path = _weights_file(path)
        metadata = read_weights(file_path)[1]
        if "name" not in metadata:
            raise WeightsError(f"{file_path} doesn't say which network it is of; give it as --model NAME={file_path}")
        name = str(metadata["name"])
        return ModelRequest(text, name, file_path, _scale_of(name))
    return ModelRequest(text, text, None, _scale_of(text))


def _weights_file(path: Path, is_cascade: bool = False) -> Path:
    if path.is_dir():
        if not (path / WEIGHTS_NAME).is_file():
            raise WeightsError(f"{path} is no run with weights: it holds no {WEIGHTS_NAME}; name a run, or a file")
        return path / WEIGHTS_NAME
    if not path.is_file() or (path.suffix in (".ckpt", ".pt", ".pth") and not is_cascade):
        read_weights(path)  # says what is wrong, and what to use instead
    return path


def _scale_of(name: str) -> int | None:
    try:
        card = card_of(name)
        of_cascade = re.search(r"_x([124])(?=[@+])", name)
        return card.scale if of_cascade is None else int(of_cascade[1])
    except UnknownModelError as error:
        if Path(name).suffix:
            raise UnknownModelError(f"no file {name}, and {error}") from None
        raise


def load_model(
    request: ModelRequest, scale: int, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> EvaluatedModel:
    """Build a model for a set's scale.

    Args:
        request: what ``parse_model`` found.
        scale: of the set.
        device: where the network is put.
        dtype: type of its parameters.

    Raises:
        ConfigError: it has another scale.
        WeightsError: its weights can't be had or used.
        SignalError: it wants other signals than the sets have.
    """
    if request.scale is not None and request.scale != scale:
        raise ConfigError(
            f"{request.label} is of scale {request.scale}, the set of scale {scale}; give one of x{scale}"
        )
    net: Any = zoo.load(request.name, weights=request.weights, device=device, dtype=dtype, scale=scale)
    for side, signal, wanted in (("input", net.input_signal, SDR_VIDEO), ("output", net.output_signal, HDR10_VIDEO)):
        if signal != wanted:
            raise SignalError(f"{request.label}: its {side} is {signal}, the sets have {wanted}")
    parameters = sum(parameter.numel() for parameter in net.parameters())
    weights = request.weights or request.weights_in_name
    if weights is None and "+" not in request.name:
        sha256: str | None = find_weights(request.name)[0].sha256
    else:
        sha256 = None if weights is None else sha256_of(weights)
    module, own, _ = request.name.partition("@")[0].partition(":")
    source = source_digest(module) if own else None
    return EvaluatedModel(request.label, request.name, scale, net, parameters, sha256, source)
