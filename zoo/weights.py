"""Network weights as files: safetensors alone, checked before they are trusted."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from zoo.errors import WeightsError
from zoo.files import parse_json

WEIGHTS_NAME = "weights.safetensors"
_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def read_weights(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and metadata of a safetensors file, on the CPU.

    Metadata are stored as one JSON text for each key, as :func:`write_weights` does; other files' texts come as they
    are.

    Raises:
        WeightsError: no such file, a checkpoint or other format, a damaged file; a tensor of another type than the
            float types of 16 to 64 bits, or with NaN or infinity.
    """
    path = Path(path)
    if path.suffix == ".ckpt":
        beside = next((p / WEIGHTS_NAME for p in path.parents[:2] if (p / WEIGHTS_NAME).is_file()), None)
        hint = f"use {beside}" if beside else f"use the {WEIGHTS_NAME} of its run folder"
        raise WeightsError(f"{path} is a training checkpoint, not weights: {hint}")
    if not path.is_file():
        raise WeightsError(f"no weights file {path}")
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no mapping)
            raw = file.metadata() or {}
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"{path} is not a whole safetensors file ({error}); fetch or export it again") from error
    for key, tensor in tensors.items():
        if tensor.dtype not in _DTYPES:
            kind = str(tensor.dtype).removeprefix("torch.")
            raise WeightsError(f"{path}: tensor {key} is {kind}; weights are float16, bfloat16, float32 or float64")
    check_finite(tensors, path)
    return tensors, {key: _parsed(text) for key, text in raw.items()}


def check_finite(tensors: Mapping[str, Tensor], source: object) -> None:
    """Refuse numbers that no prediction follows from.

    Args:
        tensors: in the type in which they are to be used: what a file holds may be infinity there.
        source: named in errors.

    Raises:
        WeightsError: a tensor holds NaN or infinity; it is named.
    """
    for key, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            kind = str(tensor.dtype).removeprefix("torch.")
            raise WeightsError(f"{source}: tensor {key} holds NaN or infinity as {kind}; it is of no use in this type")


def _parsed(text: str) -> Any:
    try:
        return parse_json(text)
    except ValueError:
        return text


def write_weights(path: str | os.PathLike[str], tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Write a safetensors file whole or not at all; ``metadata`` values are stored as JSON.

    The same tensors and metadata give the same bytes.
    """
    path = Path(path)
    data = weights_bytes(tensors, metadata)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with open(part, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def weights_bytes(tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> bytes:
    """What :func:`write_weights` writes."""
    data = save(
        {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()},
        {key: json.dumps(value) for key, value in metadata.items()},
    )
    # The library leaves metadata in an order that changes from process to process.
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    if "__metadata__" in header:
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # numbers begin at a multiple of 8
    return len(text).to_bytes(8, "little") + text + data[end:]


def load_tensors(net: nn.Module, tensors: Mapping[str, Tensor], source: object) -> None:
    """Copy ``tensors`` into ``net``; every tensor of both must match by name and shape.

    Args:
        net: the network; its dtype and device stay.
        tensors: a whole state dict.
        source: named in errors.

    Raises:
        WeightsError: a tensor is missing, surplus, of another shape, or not finite in the network's type; it is named
            and nothing is copied.
    """
    check_fit(net, tensors, source)
    own = net.state_dict()
    tensors = {key: tensor.to(own[key].dtype) for key, tensor in tensors.items()}
    check_finite(tensors, source)
    net.load_state_dict(tensors)


def check_fit(net: nn.Module, tensors: Mapping[str, Tensor], source: object) -> None:
    """Refuse tensors that aren't ``net``'s, as :func:`load_tensors` does; ``net`` may lie on the meta device."""
    own = net.state_dict()
    for verb, names in (("lacks", own.keys() - tensors.keys()), ("has an unknown", tensors.keys() - own.keys())):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            kind = type(net).__name__
            raise WeightsError(f"{source} {verb} tensor {min(names)}{more}: it is not for this {kind}")
    for key, tensor in tensors.items():
        if tensor.shape != own[key].shape:
            have, want = tuple(tensor.shape), tuple(own[key].shape)
            raise WeightsError(f"{source}: tensor {key} has shape {have}, this {type(net).__name__} needs {want}")
