"""What this machine has for training: devices and the precision that they are fast in."""

from __future__ import annotations

from typing import Any

import torch

from zoo.errors import ConfigError


def resolve_accelerator(accelerator: Any, devices: Any) -> tuple[str, int]:
    """The accelerator and the number of processes on this machine.

    ``auto`` is CUDA where torch sees a GPU, else the CPU: scores are computed in float64, which Apple's GPUs lack.

    Args:
        accelerator: as ``trainer.accelerator``.
        devices: as ``trainer.devices``: a number, a list of GPUs, or ``auto`` for all GPUs or one CPU process.

    Raises:
        ConfigError: more devices than there are, or a GPU where there is none.
    """
    gpus = torch.cuda.device_count()
    given = accelerator
    if accelerator == "auto":
        accelerator = "gpu" if gpus else "cpu"
    gpu = accelerator in ("gpu", "cuda")
    count = count_devices(devices, gpus if gpu else 1)
    if gpu and not gpus:
        raise ConfigError(
            f"--trainer.accelerator {given}: torch sees no GPU here; use cpu, or a torch built for the GPU"
        )
    if count < 1:
        raise ConfigError(f"--trainer.devices {devices}: give a number of at least 1, a list of GPUs, or auto")
    if gpu and count > gpus:
        raise ConfigError(f"--trainer.devices {devices}: torch sees {gpus} GPU{'s' * (gpus > 1)} here")
    if given == "auto" and not gpu and count > 1:
        raise ConfigError(
            f"--trainer.devices {devices}: torch sees no GPU here; leave it out to train in one process, "
            f"or add --trainer.accelerator cpu for {count} processes"
        )
    return accelerator, count


def count_devices(devices: Any, available: int) -> int:
    """The number of processes that ``trainer.devices`` stands for, where there are ``available`` devices.

    Raises:
        ConfigError: it is no number and no list.
    """
    if devices in ("auto", "-1", -1):
        return available
    if isinstance(devices, str):
        devices = devices.split(",") if "," in devices else devices
    if isinstance(devices, (list, tuple)):
        return len(devices)
    try:
        return int(devices)
    except ValueError:
        raise ConfigError(f"--trainer.devices {devices}: give a number, a list of GPUs, or auto") from None


def resolve_devices(accelerator: str, devices: Any, count: int) -> Any:
    """``trainer.devices`` as Lightning takes it: the count, or the GPUs that were named."""
    named = isinstance(devices, (list, tuple)) or (isinstance(devices, str) and "," in devices)
    return devices if named and accelerator in ("gpu", "cuda") else count


def check_precision(precision: Any, accelerator: str) -> None:
    """Refuse what computes in half precision throughout, and what would be replaced without a word.

    Raises:
        ConfigError: the way out is named.
    """
    if precision in ("16-true", "bf16-true", "transformer-engine", "transformer-engine-float16"):
        raise ConfigError(
            f"--trainer.precision {precision}: signals and scores need float32; use bf16-mixed (or 16-mixed)"
        )
    if precision in ("16-mixed", "16", 16) and accelerator == "cpu":
        raise ConfigError(
            f"--trainer.precision {precision}: float16 is for GPUs, and Lightning would take bfloat16 on a CPU; use "
            "bf16-mixed"
        )


def fast_precision(accelerator: str) -> str:
    """``bf16-mixed`` where bfloat16 is done in hardware, else ``32-true``: emulated it is slower than float32."""
    if accelerator in ("gpu", "cuda"):
        bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    elif accelerator == "cpu":
        bf16 = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    else:
        bf16 = False
    return "bf16-mixed" if bf16 else "32-true"
