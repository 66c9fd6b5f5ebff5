"""What a run's failures mean, in one line for the user."""

from __future__ import annotations


def explain_failure(error: BaseException) -> str | None:
    """One line of what went wrong and what to do; None for an error that isn't known here."""
    return None
