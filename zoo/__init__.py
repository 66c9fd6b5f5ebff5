"""Networks from low-resolution SDR to high-resolution HDR video: find, build and load them by name.

Importing this is light: torch is imported when the first network is built.
"""

from typing import TYPE_CHECKING, Any

from zoo.errors import ConfigError, DataError, SignalError, UnknownModelError, WeightsError, ZooError
from zoo.registry import Card, create, info, list_models, load

if TYPE_CHECKING:
    from zoo.rgb import pipeline

__version__ = "0.1.0"
__all__ = [
    "Card",
    "ConfigError",
    "DataError",
    "SignalError",
    "UnknownModelError",
    "WeightsError",
    "ZooError",
    "create",
    "info",
    "list_models",
    "load",
    "pipeline",
]


def __getattr__(name: str) -> Any:
    """``zoo.pipeline``, whose module needs torch."""
    if name == "pipeline":
        from zoo.rgb import pipeline

        return pipeline
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
