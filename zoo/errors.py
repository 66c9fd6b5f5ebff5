"""Errors that are meant for the user: one line that says what is wrong, where, and what to do.

Commands print the line and exit with status 2; Python callers can catch the class they care about.
"""

from __future__ import annotations


def one_line(error: object) -> str:
    """What an error or a text says, on one line; an error's type where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


class ZooError(Exception):
    """Base of every error that a user can mend."""


class UnknownModelError(ZooError, KeyError):
    """A name that is neither a model of the zoo nor a baseline."""

    __str__ = Exception.__str__  # KeyError would print the repr


class WeightsError(ZooError):
    """Weights that are missing, damaged, or belong to another network."""


class SignalError(ZooError, ValueError):
    """A signal that is unknown, incomplete, or not the one a function takes."""


class DataError(ZooError):
    """Pictures, shards or sets that can't be used as they are."""


class ConfigError(ZooError):
    """A configuration that is wrong or contradicts itself."""


class CheckpointError(ZooError):
    """Checkpoints that can't be saved."""


class DivergenceError(ZooError):
    """A training whose loss or weights became NaN or infinite."""
