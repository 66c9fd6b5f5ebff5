"""What happens around training; each callback uses public attributes of the module alone."""

from zoo._torchvision import ensure_torchvision

ensure_torchvision()

from callbacks.divergence_guard import DivergenceGuard  # noqa: E402
from callbacks.publish_weights import PublishWeights  # noqa: E402
from callbacks.run_report import RunReport  # noqa: E402
from callbacks.stage_switch import StageSwitch  # noqa: E402
from callbacks.weight_average import WeightAverage  # noqa: E402

__all__ = ["DivergenceGuard", "PublishWeights", "RunReport", "StageSwitch", "WeightAverage"]
