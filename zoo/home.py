"""The folder where the project keeps what it can make or fetch again. Standard library alone."""

from __future__ import annotations

import os
from pathlib import Path


def sritm_home() -> Path:
    """``SRITM_HOME``, else ``sritm-zoo`` in the user's cache folder (XDG Base Directory Specification).

    Returns:
        An absolute path; the folder need not exist.
    """
    if home := os.environ.get("SRITM_HOME"):
        return Path(home).expanduser().absolute()
    return user_cache() / "sritm-zoo"


def user_cache() -> Path:
    """``XDG_CACHE_HOME``, else ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser().absolute()
