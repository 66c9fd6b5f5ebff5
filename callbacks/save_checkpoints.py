"""When a run saves, and how many of its checkpoints it keeps."""

from __future__ import annotations

from pytorch_lightning import Callback


class SaveCheckpoints(Callback):
    """Save after every epoch, every few minutes, and when the run is told to stop."""

    def __init__(self, minutes: float = 10.0, keep: int = 2) -> None:
        self.minutes = minutes
        self.keep = keep
