"""Folders that tests read from."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from zoo._torchvision import ensure_torchvision

ensure_torchvision()  # before a test module imports pytorch_lightning or torchmetrics

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = Path(os.environ.get("SRITM_REFERENCE", ROOT.parent / "shared"))


@pytest.fixture(scope="session")
def reference() -> Path:
    """The developers' folder of reference arrays and footage; tests that need it skip where it is absent."""
    if not (REFERENCE / "golden").is_dir():
        pytest.skip(f"reference folder {REFERENCE} is absent (set SRITM_REFERENCE to where it lies)")
    return REFERENCE


@pytest.fixture(scope="session")
def golden() -> Path:
    """Reference arrays that travel with the project."""
    return ROOT / "tests" / "golden"


@pytest.fixture(scope="session")
def root() -> Path:
    """The top of the checkout."""
    return ROOT
