"""The validation scores of every frame, epoch by epoch."""

from __future__ import annotations

from pytorch_lightning import Callback


class ScoreTable(Callback):
    """Write the scores of each validation frame of each epoch into ``scores.csv``, and log their table."""
