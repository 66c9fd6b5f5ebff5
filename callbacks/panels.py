"""Pictures of what the network makes of fixed validation frames, every few epochs."""

from __future__ import annotations

from pytorch_lightning import Callback


class Panels(Callback):
    """Draw panels of fixed validation frames into ``panels/`` of the run's folder, and log them."""

    def __init__(self, every: int = 5, frames: int = 2) -> None:
        self.every = every
        self.frames = frames
