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

# Known names of each part and the code points of ITU-T H.273 (Tables 2 to 4) that they are written with.
_PRIMARIES = {"bt709": 1, "bt2020": 9, "p3d65": 12, "smpte170m": 6, "bt470bg": 5}
# BT.1886 is how a display reads a signal tagged BT.709.
_TRANSFERS = {"bt709": 1, "bt1886": 1, "srgb": 13, "pq": 16, "hlg": 18}
_MATRICES = {"rgb": 0, "ycbcr709": 1, "ycbcr2020": 9, "ycbcr601": 6}
_RANGES = {"narrow": 0, "full": 1}
_DEPTHS = (8, 10, 12, 16)

# Code points and the names that they are read as. Those of BT.601 (6) and of BT.2020 (14, 15) name cameras' curves that
# are BT.709's; all of them are shown by BT.1886. The two matrices of BT.601 (5, 6) have the same coefficients.
_PRIMARIES_OF = {code: name for name, code in _PRIMARIES.items()}
_TRANSFERS_OF = {1: "bt1886", 6: "bt1886", 14: "bt1886", 15: "bt1886", 13: "srgb", 16: "pq", 18: "hlg"}
_MATRICES_OF = {0: "rgb", 1: "ycbcr709", 5: "ycbcr601", 6: "ycbcr601", 9: "ycbcr2020"}
_UNSPECIFIED = 2


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
        primaries: ``bt709``, ``bt2020``, ``p3d65``, ``smpte170m`` (BT.601 of 525 lines) or ``bt470bg`` (BT.601 of 625
            lines), all with white D65.
        transfer: ``bt709`` (the camera's curve, light relative to white), ``bt1886`` (the display's, for a white of
            100 cd/m²), ``srgb``, ``pq`` (absolute light) or ``hlg`` (with the OOTF for a display of 1000 cd/m²).
        matrix: ``rgb`` (R'G'B'), ``ycbcr709``, ``ycbcr2020`` (with non-constant luminance) or ``ycbcr601`` (Y'CbCr).
        range: ``narrow`` (8 bit: 16..235, chroma 16..240) or ``full``.
        depth: bits of a code, 8, 10, 12 or 16.

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
        parts = text.split("-") if isinstance(text, str) else []
        if len(parts) != 5 or not parts[-1].isdecimal():
            raise SignalError(
                f"signal {text!r} isn't of the form primaries-transfer-matrix-range-depth; "
                "an example: bt709-bt1886-ycbcr709-narrow-8"
            )
        try:
            return cls(parts[0], parts[1], parts[2], parts[3], int(parts[4]))
        except SignalError as error:
            raise SignalError(f"signal {text!r}: {error}") from None

    @classmethod
    def from_cicp(cls, primaries: int, transfer: int, matrix: int, full_range: bool | None, depth: int) -> Signal:
        """The signal that a file's tags stand for.

        Args:
            primaries: code point of ITU-T H.273, Table 2.
            transfer: code point of Table 3. The cameras' curves of BT.709, BT.601 and BT.2020 (1, 6, 14, 15) become
                ``bt1886``, the curve that they are shown by.
            matrix: code point of Table 4.
            full_range: whether codes use the full range; None where the file doesn't say.
            depth: bits of a code.

        Raises:
            SignalError: the tags leave a part unspecified (2, or None for the range), or it isn't one of those known;
                the message names the part.
        """
        parts: dict[str, tuple[int, dict[int, str]]] = {
            "primaries": (primaries, _PRIMARIES_OF),
            "transfer": (transfer, _TRANSFERS_OF),
            "matrix": (matrix, _MATRICES_OF),
        }
        unspecified = [part for part, (code, _) in parts.items() if code == _UNSPECIFIED]
        if full_range is None:
            unspecified.append("range")
        if unspecified:
            raise SignalError(f"{', '.join(unspecified)} unspecified by the tags; state the signal, e.g. {SDR_VIDEO}")
        for part, (code, names) in parts.items():
            if code not in names:
                known = ", ".join(f"{number} ({name})" for number, name in sorted(names.items()))
                raise SignalError(f"unknown {part} {code} (ITU-T H.273) in the tags; known: {known}")
        return cls(
            _PRIMARIES_OF[primaries],
            _TRANSFERS_OF[transfer],
            _MATRICES_OF[matrix],
            "full" if full_range else "narrow",
            depth,
        )

    def __str__(self) -> str:
        return f"{self.primaries}-{self.transfer}-{self.matrix}-{self.range}-{self.depth}"

    @property
    def cicp(self) -> CICP:
        """The code points of ITU-T H.273. ``bt709`` and ``bt1886`` share one, ``ycbcr601`` is 6; depth has none."""
        return CICP(_PRIMARIES[self.primaries], _TRANSFERS[self.transfer], _MATRICES[self.matrix], _RANGES[self.range])

    @property
    def peak(self) -> int:
        """The highest code, 2^depth - 1: what a code is divided by to be a tensor's value."""
        return 2**self.depth - 1


SDR_VIDEO = Signal("bt709", "bt1886", "ycbcr709", "narrow", 8)
HDR10_VIDEO = Signal("bt2020", "pq", "ycbcr2020", "narrow", 10)
