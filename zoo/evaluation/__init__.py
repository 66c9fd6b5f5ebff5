"""Evaluation: models over sets of frames, scored, compared and written down (docs/evaluation.md)."""

from zoo.evaluation.models import EvaluatedModel, load_model, parse_model
from zoo.evaluation.report import Evaluation, ModelResult, Request, evaluate
from zoo.evaluation.sets import EvaluationFrame, EvaluationSet, open_sets
from zoo.evaluation.statistics import Estimate, paired_difference, set_mean

__all__ = [
    "Estimate",
    "EvaluatedModel",
    "Evaluation",
    "EvaluationFrame",
    "EvaluationSet",
    "ModelResult",
    "Request",
    "evaluate",
    "load_model",
    "open_sets",
    "paired_difference",
    "parse_model",
    "set_mean",
]
