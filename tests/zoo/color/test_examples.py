from __future__ import annotations

import doctest
import importlib

import pytest


@pytest.mark.parametrize(
    "module",
    ["zoo.signal", "zoo.color.hlg", "zoo.color.ictcp", "zoo.color.transfer", "zoo.color.ycbcr", "zoo.metrics.psnr"],
)
def test_examples_of_the_docstrings_hold(module: str) -> None:
    results = doctest.testmod(importlib.import_module(module))
    assert results.attempted > 0
    assert results.failed == 0
