"""How fast a run is, and what it waits for."""

from __future__ import annotations

from pytorch_lightning import Callback


class Speed(Callback):
    """Log throughput, the share of time spent waiting for data, MFU and memory in the section ``speed``."""
