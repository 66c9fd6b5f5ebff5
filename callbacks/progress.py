"""The one line that a terminal shows while a run trains."""

from __future__ import annotations

from pytorch_lightning.callbacks import TQDMProgressBar


class ProgressLine(TQDMProgressBar):
    """Loss, validation score, samples per second, time left and stage."""
