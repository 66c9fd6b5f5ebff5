from __future__ import annotations

import dataclasses
import itertools
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo.errors import SignalError
from zoo.signal import HDR10_VIDEO, SDR_VIDEO, Signal

SIGNALS = [
    Signal(*parts)
    for parts in itertools.product(
        ("bt709", "bt2020", "p3d65", "smpte170m", "bt470bg"),
        ("bt709", "bt1886", "srgb", "pq", "hlg"),
        ("rgb", "ycbcr709", "ycbcr2020", "ycbcr601"),
        ("narrow", "full"),
        (8, 10, 12, 16),
    )
]


@given(st.sampled_from(SIGNALS))
def test_text_form_of_any_signal_parses_to_the_same_signal(signal: Signal) -> None:
    assert Signal.parse(str(signal)) == signal


def test_networks_signals_have_the_published_text_forms() -> None:
    assert str(SDR_VIDEO) == "bt709-bt1886-ycbcr709-narrow-8"
    assert str(HDR10_VIDEO) == "bt2020-pq-ycbcr2020-narrow-10"


# ITU-T H.273, Tables 2 to 4: HDR10 is 9-16-9, HD video 1-1-1, sRGB pictures 1-13-0.
@pytest.mark.parametrize(
    ("text", "code_points"),
    [
        ("bt2020-pq-ycbcr2020-narrow-10", (9, 16, 9, 0)),
        ("bt709-bt1886-ycbcr709-narrow-8", (1, 1, 1, 0)),
        ("bt709-bt709-ycbcr709-narrow-10", (1, 1, 1, 0)),
        ("bt709-srgb-rgb-full-8", (1, 13, 0, 1)),
        ("bt2020-hlg-ycbcr2020-narrow-10", (9, 18, 9, 0)),
        ("p3d65-pq-rgb-full-12", (12, 16, 0, 1)),
        ("smpte170m-bt1886-ycbcr601-narrow-8", (6, 1, 6, 0)),
        ("bt470bg-bt1886-ycbcr601-narrow-8", (5, 1, 6, 0)),
    ],
)
def test_cicp_gives_the_code_points_of_h273(text: str, code_points: tuple[int, int, int, int]) -> None:
    assert Signal.parse(text).cicp == code_points


@given(st.sampled_from(SIGNALS))
def test_signal_comes_back_from_its_code_points(signal: Signal) -> None:
    expected = "bt1886" if signal.transfer == "bt709" else signal.transfer  # one code point, read as the display's
    cicp = signal.cicp
    back = Signal.from_cicp(cicp.primaries, cicp.transfer, cicp.matrix, bool(cicp.full_range), signal.depth)
    assert back == dataclasses.replace(signal, transfer=expected)


@pytest.mark.parametrize(
    ("tags", "text"),
    [
        ((6, 6, 6, False, 8), "smpte170m-bt1886-ycbcr601-narrow-8"),
        ((5, 6, 5, False, 8), "bt470bg-bt1886-ycbcr601-narrow-8"),
        ((9, 14, 9, False, 10), "bt2020-bt1886-ycbcr2020-narrow-10"),
        ((9, 15, 9, True, 12), "bt2020-bt1886-ycbcr2020-full-12"),
    ],
)
def test_tags_of_standard_definition_and_wide_gamut_sdr_are_read_for_the_display(
    tags: tuple[int, int, int, bool, int], text: str
) -> None:
    assert str(Signal.from_cicp(*tags)) == text


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ((2, 16, 9, False), "primaries unspecified by the tags; state the signal"),
        ((9, 2, 9, False), "transfer unspecified"),
        ((9, 16, 2, False), "matrix unspecified"),
        ((9, 16, 9, None), "range unspecified"),
        ((2, 2, 2, None), "primaries, transfer, matrix, range unspecified"),
        ((4, 16, 9, False), "unknown primaries 4 (ITU-T H.273) in the tags; known: 1 (bt709), 5 (bt470bg)"),
        ((9, 8, 9, False), "unknown transfer 8 (ITU-T H.273) in the tags; known: 1 (bt1886)"),
        ((9, 16, 14, False), "unknown matrix 14 (ITU-T H.273) in the tags; known: 0 (rgb), 1 (ycbcr709)"),
    ],
)
def test_tags_that_leave_a_part_open_are_refused_by_its_name(
    tags: tuple[int, int, int, bool | None], message: str
) -> None:
    with pytest.raises(SignalError) as refusal:
        Signal.from_cicp(*tags, depth=10)
    assert str(refusal.value).startswith(message)


def test_peak_is_the_highest_code() -> None:
    assert SDR_VIDEO.peak == 255
    assert HDR10_VIDEO.peak == 1023


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "bt470-pq-rgb-full-10",
            "unknown primaries 'bt470' of a signal; known: bt709, bt2020, p3d65, smpte170m, bt470bg",
        ),
        ("bt709-gamma22-rgb-full-8", "unknown transfer 'gamma22' of a signal; known: bt709, bt1886, srgb, pq, hlg"),
        ("bt709-srgb-ycocg-full-8", "unknown matrix 'ycocg' of a signal; known: rgb, ycbcr709, ycbcr2020, ycbcr601"),
        ("bt709-srgb-rgb-limited-8", "unknown range 'limited' of a signal; known: narrow, full"),
        ("bt709-srgb-rgb-full-9", "unknown depth 9 of a signal; known: 8, 10, 12, 16"),
    ],
)
def test_unknown_part_is_refused_with_the_known_names(text: str, message: str) -> None:
    with pytest.raises(SignalError) as refusal:
        Signal.parse(text)
    assert str(refusal.value) == f"signal '{text}': {message}"


@pytest.mark.parametrize(
    "text", ["", "srgb", "bt709-srgb-rgb-full", "bt709-srgb-rgb-full-8-4:4:4", "bt709-pq-rgb-full-x"]
)
def test_text_of_another_form_is_refused_with_the_form(text: str) -> None:
    with pytest.raises(SignalError, match="primaries-transfer-matrix-range-depth"):
        Signal.parse(text)


def test_signal_needs_the_standard_library_alone() -> None:
    code = "import sys, zoo.signal; sys.exit(bool({'torch', 'numpy'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
