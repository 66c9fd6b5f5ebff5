"""What happens around training; each callback uses public attributes of the module alone."""

from zoo._torchvision import ensure_torchvision

ensure_torchvision()

from callbacks.data_facts import DataFacts  # noqa: E402
from callbacks.divergence_guard import DivergenceGuard  # noqa: E402
from callbacks.histograms import Histograms  # noqa: E402
from callbacks.panels import Panels  # noqa: E402
from callbacks.progress import ProgressLine  # noqa: E402
from callbacks.publish_weights import PublishWeights  # noqa: E402
from callbacks.random_state import RandomState  # noqa: E402
from callbacks.run_report import RunReport  # noqa: E402
from callbacks.save_checkpoints import SaveCheckpoints  # noqa: E402
from callbacks.score_table import ScoreTable  # noqa: E402
from callbacks.speed import Speed  # noqa: E402
from callbacks.stage_switch import StageSwitch  # noqa: E402
from callbacks.weight_average import WeightAverage  # noqa: E402

__all__ = [
    "DataFacts",
    "DivergenceGuard",
    "Histograms",
    "Panels",
    "ProgressLine",
    "PublishWeights",
    "RandomState",
    "RunReport",
    "SaveCheckpoints",
    "ScoreTable",
    "Speed",
    "StageSwitch",
    "WeightAverage",
]
