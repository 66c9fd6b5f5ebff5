"""Checkpoint files that are whole or not there, however a run ends."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

PART = ".part"  # the end of a file's name while it is written


class WholeFiles(TorchCheckpointIO):
    """Writes beside the target, to the disk, then renames: a kill or a full disk leaves the old file or none.

    A failure is kept rather than raised: raised on the one rank that writes, it would leave the others waiting.

    Attributes:
        failure: what went wrong at the last save; None if nothing did.
    """

    def __init__(self) -> None:
        self.failure: OSError | None = None

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write ``checkpoint`` to ``path``; see ``failure``."""
        self.failure = None
        # Into memory first: torch's writer to files reports a full disk in errors of its own, and takes longer.
        content = io.BytesIO()
        torch.save(checkpoint, content)
        part = Path(f"{path}{PART}")
        try:
            with open(part, "wb") as file:
                file.write(content.getbuffer())
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
            _sync_folder(part.parent)
        except OSError as error:
            self.failure = error
            part.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Bring a rename to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
