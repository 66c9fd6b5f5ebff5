"""Whether a checkpoint is one that a run can go on from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from zoo.errors import ConfigError
from zoo.modules import SRITMModule
from zoo.modules.base import CHECKPOINT_FORMAT


def check_checkpoint(path: Path, module: SRITMModule) -> None:
    """Refuse a checkpoint that ``module`` can't go on from. Tensors are not read, only their shapes.

    Raises:
        ConfigError: the file is cut or of another kind, or belongs to another network or a newer version.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except Exception as error:  # torch raises whatever it meets: no kind is known in advance
        raise ConfigError(
            f"{path} can't be read as a checkpoint: it is cut, or of another kind; give another with --ckpt_path"
        ) from error
    ours = checkpoint.get("sritm") if isinstance(checkpoint, dict) else None
    if not isinstance(ours, dict) or "state_dict" not in checkpoint:
        raise ConfigError(f"{path} is no checkpoint of this project; weights alone are given with --model.weights")
    # Checkpoints of the first days lack the number.
    if (version := ours.get("format", CHECKPOINT_FORMAT)) > CHECKPOINT_FORMAT:
        raise ConfigError(f"{path} has format {version}, this version reads up to {CHECKPOINT_FORMAT}: update it")
    if ours["model"] != module.model_name:
        raise ConfigError(f"{path} is a checkpoint of {ours['model']}, not of {module.model_name}")
    _check_shapes(path, checkpoint["state_dict"], module)


def _check_shapes(path: Path, tensors: dict[str, Any], module: SRITMModule) -> None:
    theirs = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    own = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    for name in sorted(theirs.keys() | own.keys()):
        if theirs.get(name) != own.get(name):
            raise ConfigError(
                f"{path} was made with other arguments of {type(module).__name__}: tensor {name} has shape "
                f"{theirs.get(name, 'none')} there, {own.get(name, 'none')} here"
            )
