"""Networks from low-resolution SDR to high-resolution HDR video: find, build and load them by name.

Importing this is light: torch is imported when the first network is built.
"""

from zoo.errors import ConfigError, DataError, SignalError, UnknownModelError, WeightsError, ZooError
from zoo.registry import Card, create, info, list_models, load

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
]
