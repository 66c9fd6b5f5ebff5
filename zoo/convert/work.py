"""The folder beside an output where its parts are made, which survives a kill so that the same command can go on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from zoo.errors import DataError
from zoo.files import UNFINISHED, lock, write_json


class PartsFolder:
    """``.NAME-converting`` beside the output NAME: ``job.json``, which says what the parts follow from, and parts.

    Args:
        output: the finished file's path.
        suffix: of the parts.
    """

    def __init__(self, output: Path, suffix: str = ".mp4") -> None:
        output = output.absolute()  # workers may have been started elsewhere
        self.path = output.parent / f".{output.name}-converting"
        self._job = self.path / "job.json"
        self._suffix = suffix

    def part(self, number: int) -> Path:
        """Where a part lies."""
        return self.path / f"{number:06d}{self._suffix}"

    @contextmanager
    def held(self, facts: dict[str, Any]) -> Iterator[None]:
        """Hold the folder for one process; made if it isn't there, kept if a part in it is finished.

        Args:
            facts: what the parts follow from, as JSON takes it.

        Raises:
            DataError: another process holds it, or it has parts of another conversion.
            OSError: it can't be written.
        """
        self.path.mkdir(exist_ok=True)
        with (self.path / "lock").open("w") as file:
            if not lock(file):  # without locks two processes at once would only do the same work twice
                raise DataError(f"another process is writing to {self.path}; wait for it")
            self._check(facts)
            for rest in self.path.glob(f".*{UNFINISHED}"):
                rest.unlink(missing_ok=True)
            try:
                yield
            except BaseException:
                if not self._finished():
                    self.remove()
                raise

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _finished(self) -> bool:
        return any(path != self._job for path in self.path.glob("*.json"))

    def _check(self, facts: dict[str, Any]) -> None:
        facts = json.loads(json.dumps(facts))
        try:
            begun = json.loads(self._job.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            begun = None
        if begun == facts:
            return
        if begun is not None and self._finished():
            other = ", ".join(key for key in facts if facts[key] != begun.get(key))
            raise DataError(
                f"{self.path} holds parts of a conversion with another {other}; finish it with its own command, or "
                "remove that folder"
            )
        write_json(self._job, facts)
