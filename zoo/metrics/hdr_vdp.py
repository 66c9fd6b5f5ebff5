"""HDR-VDP-2 and HDR-VDP-3 through GNU Octave or MATLAB, where their authors' toolbox is on the machine.

The toolbox isn't part of this project: fetch it from https://hdrvdp.sourceforge.net and say where it lies by the
environment variable ``HDRVDP2_PATH`` or ``HDRVDP3_PATH`` (the folder with ``hdrvdp.m`` or ``hdrvdp3.m``).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from zoo.color import luma
from zoo.errors import ConfigError, DataError
from zoo.metrics.base import CLIPPED_CODES, FrameMetric, Protocol
from zoo.metrics.frames import FramePair
from zoo.signal import HDR10_VIDEO, Signal

_PROGRAMS = ("octave-cli", "octave", "matlab")
_PIXELS_PER_DEGREE = 30  # as in Deep SR-ITM, section 4.4
_RESULT = re.compile(r"^SRITM_Q=(\S+)$", re.MULTILINE)


class HDRVDP2(FrameMetric):
    """Mean over frames of HDR-VDP-2's Q (Mantiuk et al., SIGGRAPH 2011), 100 for a perfect frame.

    Set as the papers state it for their tables (version 2.2.1): luminance, option ``luminance``, 30 pixels a degree.

    Args:
        signal: what predictions and truths are on.
        toolbox: the folder of the toolbox; by default what the environment variable says.
        timeout: seconds that a frame may take.
        kwargs: what ``torchmetrics.Metric`` takes.

    Raises:
        ConfigError: neither Octave nor MATLAB, or no toolbox.
        SignalError: ``signal`` isn't HDR.
    """

    higher_is_better = True

    version: ClassVar[str] = "2"
    variable: ClassVar[str] = "HDRVDP2_PATH"
    function: ClassVar[str] = "hdrvdp.m"
    call: ClassVar[str] = "r = hdrvdp(preds, target, 'luminance', {ppd}); q = r.Q;"

    def __init__(
        self, signal: Signal = HDR10_VIDEO, toolbox: str | None = None, timeout: float = 3600, **kwargs: Any
    ) -> None:
        super().__init__(signal, **kwargs)
        self.timeout = timeout
        self.program = next((path for name in _PROGRAMS if (path := shutil.which(name))), None)
        folder = toolbox or os.environ.get(self.variable)
        name = f"HDR-VDP-{self.version}"
        if self.program is None:
            raise ConfigError(f"{name} runs in GNU Octave or MATLAB, and neither is on the PATH; install one")
        if not folder:
            raise ConfigError(
                f"{name} needs its authors' toolbox; set {self.variable} to the folder of {self.function}"
            )
        if not (Path(folder) / self.function).is_file():
            raise ConfigError(f"{name}: no {self.function} in {folder}; set {self.variable} to the toolbox's folder")
        self.toolbox = Path(folder)

    @property
    def protocol(self) -> Protocol:
        """What the figure means."""
        return Protocol(
            quantity=f"HDR-VDP-{self.version}, {self.call.format(ppd=_PIXELS_PER_DEGREE)}",
            signal=str(self.signal),
            values="luminance of light on BT.2020",
            range="light in cd/m²",
            clipping=f"{CLIPPED_CODES}; light of both to [0, 10000] cd/m²",
            peak="none",
            display=f"ideal, {_PIXELS_PER_DEGREE} pixels a degree",
            unit="Q",
        )

    def score_pair(self, pair: FramePair) -> Tensor:
        """Score of each frame."""
        parts = [[luma(light, "ycbcr2020") for light in strip.light] for strip in pair.strips()]
        preds, target = (torch.cat(planes, dim=-2).double().cpu() for planes in zip(*parts, strict=True))
        scores = [self._run(p[0], t[0]) for p, t in zip(preds, target, strict=True)]
        return torch.tensor(scores, dtype=torch.float64, device=pair.preds.device)

    def _run(self, preds: Tensor, target: Tensor) -> float:
        """Q of one frame ``(H, W)``, in cd/m²."""
        height, width = preds.shape
        with tempfile.TemporaryDirectory(prefix="hdrvdp-") as folder:
            for name, plane in (("preds", preds), ("target", target)):
                # MATLAB reads columns first.
                (Path(folder) / name).write_bytes(plane.T.contiguous().numpy().astype("<f8").tobytes())
            script = Path(folder) / "run_hdrvdp.m"
            script.write_text(self._script(folder, height, width))
            statement = f"run('{_quoted(script)}')"
            options = ["-batch", statement] if Path(str(self.program)).stem == "matlab" else ["--eval", statement]
            try:
                result = subprocess.run(
                    [str(self.program), *options], capture_output=True, text=True, timeout=self.timeout, check=False
                )
            except subprocess.TimeoutExpired:
                raise DataError(
                    f"HDR-VDP-{self.version} of a {width}x{height} frame took over {self.timeout:g} s; raise `timeout`"
                ) from None
        match = _RESULT.search(result.stdout)
        if result.returncode or match is None:
            lines = (result.stderr or result.stdout).strip().splitlines() or ["no output"]
            raise DataError(f"HDR-VDP-{self.version} failed in {Path(str(self.program)).name}: {lines[-1]}")
        return float(match[1])

    def _script(self, folder: str, height: int, width: int) -> str:
        read = "".join(
            f"f = fopen('{_quoted(Path(folder) / name)}', 'rb'); "
            f"{name} = fread(f, [{height} {width}], 'double', 0, 'ieee-le'); fclose(f);\n"
            for name in ("preds", "target")
        )
        return (
            "if exist('OCTAVE_VERSION', 'builtin'), pkg load image, end\n"
            f"addpath(genpath('{_quoted(self.toolbox)}'));\n{read}{self.call.format(ppd=_PIXELS_PER_DEGREE)}\n"
            "fprintf('SRITM_Q=%.17g\\n', q);\n"
        )


class HDRVDP3(HDRVDP2):
    """Mean over frames of HDR-VDP-3's quality (Mantiuk, Hammou, Hanji, 2023) in JOD, 10 for a perfect frame."""

    version = "3"
    variable = "HDRVDP3_PATH"
    function = "hdrvdp3.m"
    call = "r = hdrvdp3('quality', preds, target, 'luminance', {ppd}, {{}}); q = r.Q_JOD;"


def _quoted(path: Path) -> str:
    """A path within single quotes of MATLAB."""
    return str(path).replace("'", "''")
