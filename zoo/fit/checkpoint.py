"""Whether a checkpoint is one that a run can go on from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from callbacks.save_checkpoints import OPTIMIZERS
from zoo.errors import ConfigError
from zoo.modules import SRITMModule
from zoo.modules.base import CHECKPOINT_FORMAT
from zoo.runs import is_whole

# Of a group of parameters: set anew before each update (eps too, by the authors' Adam), or by the machine.
_KEYS = {"weight_decay": "model.weight_decay", "rate_scale": "model.bias_rate or model.discriminator_rate"}
_FREE = {"params", "lr", "initial_lr", "eps", "foreach", "fused", "capturable", "differentiable"}


def check_checkpoint(path: Path, module: SRITMModule) -> tuple[dict[str, Any], int]:
    """Refuse a checkpoint that ``module`` can't go on from.

    Returns:
        What it says of itself, and its epoch.

    Raises:
        ConfigError: the file is damaged or of another kind, or belongs to another network, another optimiser, or a
            newer version.
    """
    try:
        if not is_whole(path):
            raise ValueError("checksums differ")
        checkpoint = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except Exception as error:  # torch raises whatever it meets: no kind is known in advance
        raise ConfigError(
            f"{path} can't be read as a checkpoint: it is damaged, or of another kind; give another with --ckpt_path"
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
    _check_optimizers(path, checkpoint, module)
    return ours, checkpoint.get("epoch", 0)


def _check_shapes(path: Path, tensors: dict[str, Any], module: SRITMModule) -> None:
    theirs = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    own = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    for name in sorted(theirs.keys() | own.keys()):
        if theirs.get(name) != own.get(name):
            raise ConfigError(
                f"{path} was made with other arguments of {type(module).__name__}: tensor {name} has shape "
                f"{theirs.get(name, 'none')} there, {own.get(name, 'none')} here"
            )


def _check_optimizers(path: Path, checkpoint: dict[str, Any], module: SRITMModule) -> None:
    """Their settings are restored with their state: a changed one would count for nothing, without a word."""
    optimizers = module.configure_optimizers()
    optimizers = optimizers if isinstance(optimizers, list) else [optimizers]
    own = [type(optimizer).__name__ for optimizer in optimizers]
    if (theirs := checkpoint.get(OPTIMIZERS, own)) != own:
        raise ConfigError(
            f"{path} holds the state of {', '.join(theirs)}, not of {', '.join(own)}: set model.optimizer as it was, "
            "or begin a run with --model.weights"
        )
    for optimizer, state in zip(optimizers, checkpoint.get("optimizer_states", []), strict=False):
        groups = state["param_groups"]
        sizes = [[len(group["params"]) for group in side] for side in (groups, optimizer.param_groups)]
        if sizes[0] != sizes[1]:
            raise ConfigError(
                f"{path} has optimiser groups of {sizes[0]} parameters, here they are {sizes[1]}: go on with the "
                "recipe that the run began with"
            )
        for was, now in zip(groups, optimizer.param_groups, strict=True):
            for name in sorted(was.keys() & now.keys() - _FREE):
                if _plain(was[name]) != _plain(now[name]):
                    key = _KEYS.get(name, f"an optimiser's {name}")
                    raise ConfigError(
                        f"{path} was made with {key} {was[name]}, here it is {now[name]}: an "
                        "optimiser goes on as it began, so set that again"
                    )


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
