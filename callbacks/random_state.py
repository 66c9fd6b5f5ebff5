"""Random state in checkpoints: a resumed run draws what the unbroken one would have drawn."""

from __future__ import annotations

from pytorch_lightning import Callback


class RandomState(Callback):
    """Keep the state of Python's, NumPy's and torch's generators of every rank in checkpoints."""
