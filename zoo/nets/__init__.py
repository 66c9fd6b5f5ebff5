"""The networks: each maps LR SDR on its ``input_signal`` to HR HDR on its ``output_signal``."""

from __future__ import annotations

from zoo.nets.deep_sritm import DeepSRITM
from zoo.nets.discriminator import Discriminator
from zoo.nets.jsinet import JSINet
from zoo.nets.multipurpose_cnn import MultipurposeCNN

__all__ = ["DeepSRITM", "Discriminator", "JSINet", "MultipurposeCNN"]
