"""The training command: configuration, budget, dashboards. It stands above everything else in the project."""

from zoo._torchvision import ensure_torchvision

ensure_torchvision()

from zoo.fit.configuration import FitCLI  # noqa: E402
from zoo.fit.main import main  # noqa: E402

__all__ = ["FitCLI", "main"]
