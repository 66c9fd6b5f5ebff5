"""What the numbers of a tensor mean: the signal a picture is coded in.

A signal is named by five parts, primaries-transfer-matrix-range-depth:

>>> Signal.parse("bt2020-pq-ycbcr2020-narrow-10")
Signal(primaries='bt2020', transfer='pq', matrix='ycbcr2020', range='narrow', depth=10)

A tensor on a signal holds code / (2^depth - 1): 8-bit codes over 255, 10-bit codes over 1023. Narrow range stays
narrow: black of a 10-bit picture is 64 / 1023, never 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from zoo.errors import SignalError

# Known names of each part and their code points of ITU-T H.273.
_PRIMARIES = {"bt709": 1, "bt2020": 9}
_TRANSFERS = {"bt709": 1, "bt1886": 1, "srgb": 13, "pq": 16}  # BT.1886 is how a display reads a signal tagged BT.709
_MATRICES = {"rgb": 0, "ycbcr709": 1, "ycbcr2020": 9}
_RANGES = {"narrow": 0, "full": 1}
_DEPTHS = (8, 10)


class CICP(NamedTuple):
    """Coding-independent code points (ITU-T H.273), as video streams and AVIF files carry them."""

    primaries: int
    transfer: int
    matrix: int
    full_range: int


@dataclass(frozen=True)
class Signal:
    """How a picture is coded.

    Attributes:
        primaries: ``bt709`` or ``bt2020``, both with white D65.
        transfer: ``bt709`` (the camera's curve, light relative to white), ``bt1886`` (the display's, for a white of
            100 cd/m²), ``srgb`` or ``pq`` (absolute light).
        matrix: ``rgb`` (R'G'B'), ``ycbcr709`` or ``ycbcr2020`` (Y'CbCr, the latter with non-constant luminance).
        range: ``narrow`` (8 bit: 16..235, chroma 16..240) or ``full``.
        depth: bits of a code, 8 or 10.

    Raises:
        SignalError: a part isn't known; the message names those that are.
    """

    primaries: str
    transfer: str
    matrix: str
    range: str
    depth: int

    def __post_init__(self) -> None:
        parts = {
            "primaries": _PRIMARIES,
            "transfer": _TRANSFERS,
            "matrix": _MATRICES,
            "range": _RANGES,
            "depth": _DEPTHS,
        }
        for part, known in parts.items():
            if getattr(self, part) not in known:
                names = ", ".join(map(str, known))
                raise SignalError(f"unknown {part} {getattr(self, part)!r} of a signal; known: {names}")

    @classmethod
    def parse(cls, text: str) -> Signal:
        """Read the text form, such as ``bt709-bt1886-ycbcr709-narrow-8``; ``str(signal)`` writes it.

        Raises:
            SignalError: another form, or a part that isn't known.
        """
        parts = text.split("-")
        if len(parts) != 5 or not parts[-1].isdecimal():
            raise SignalError(
                f"signal {text!r} isn't of the form primaries-transfer-matrix-range-depth; "
                "an example: bt709-bt1886-ycbcr709-narrow-8"
            )
        try:
            return cls(parts[0], parts[1], parts[2], parts[3], int(parts[4]))
        except SignalError as error:
            raise SignalError(f"signal {text!r}: {error}") from None

    def __str__(self) -> str:
        return f"{self.primaries}-{self.transfer}-{self.matrix}-{self.range}-{self.depth}"

    @property
    def cicp(self) -> CICP:
        """The code points of ITU-T H.273. ``bt709`` and ``bt1886`` share one; depth has none."""
        return CICP(_PRIMARIES[self.primaries], _TRANSFERS[self.transfer], _MATRICES[self.matrix], _RANGES[self.range])

    @property
    def peak(self) -> int:
        """The highest code, 2^depth - 1: what a code is divided by to be a tensor's value."""
        return 2**self.depth - 1


SDR_VIDEO = Signal("bt709", "bt1886", "ycbcr709", "narrow", 8)
HDR10_VIDEO = Signal("bt2020", "pq", "ycbcr2020", "narrow", 10)
