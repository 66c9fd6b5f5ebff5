"""Let torchvision be imported beside a torch build that its compiled operators don't fit.

timm needs torchvision, and torchmetrics and Lightning import it where it is installed. Registries offer torchvision
built for one torch build alone; beside another (a CPU-only torch, say) its import fails because the operator schemas
it extends were never registered. Nothing here uses those operators, so declaring their schemas is enough.
"""

from __future__ import annotations

import importlib.util
import sys
from typing import Any

_library: Any = None  # keeps the registration alive


def ensure_torchvision() -> None:
    """Make ``import torchvision`` work; call it before timm, torchmetrics or pytorch_lightning are imported.

    Does nothing where torchvision is absent or imports by itself. Where its operators can't be loaded, calling
    them (``nms``) still raises.
    """
    global _library
    if "torchvision" in sys.modules or importlib.util.find_spec("torchvision") is None:
        return
    try:
        import torchvision
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        import torch

        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        _library = torch.library.Library("torchvision", "FRAGMENT")
        for operator in ("nms", "qnms"):
            _library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import torchvision  # noqa: F401
