"""Operators of the networks and of the data protocol: filters, resizing."""

from __future__ import annotations

from zoo.ops.dynamic import dynamic_upsample_2d, dynamic_upsample_separable
from zoo.ops.guided import detail_layer, guided_filter
from zoo.ops.pictures import check_pictures
from zoo.ops.resize import imresize

__all__ = [
    "check_pictures",
    "detail_layer",
    "dynamic_upsample_2d",
    "dynamic_upsample_separable",
    "guided_filter",
    "imresize",
]
