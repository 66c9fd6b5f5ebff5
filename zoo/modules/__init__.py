"""LightningModules: networks wired to losses, optimisers and stages."""

from zoo._torchvision import ensure_torchvision

ensure_torchvision()

from zoo.modules.base import SRITMModule  # noqa: E402
from zoo.modules.deep_sritm import DeepSRITMModule, ToySRITMModule  # noqa: E402
from zoo.modules.jsigan import JSIGANModule  # noqa: E402
from zoo.modules.jsinet import JSINetModule  # noqa: E402

__all__ = ["DeepSRITMModule", "JSIGANModule", "JSINetModule", "SRITMModule", "ToySRITMModule"]
