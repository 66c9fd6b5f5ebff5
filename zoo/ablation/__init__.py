"""The papers' ablations: all columns of a table trained at one budget, scored, and set beside the printed figures."""

from zoo._torchvision import ensure_torchvision

ensure_torchvision()

from zoo.ablation.tables import TABLES, Ablation, Budget, Column, read_ablation  # noqa: E402

__all__ = ["TABLES", "Ablation", "Budget", "Column", "read_ablation"]
