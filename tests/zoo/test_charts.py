from __future__ import annotations

import json
import math
import re
from html import unescape
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import pytest

from zoo.charts import BUCKETS, line_chart, number_text, sparkline


def drawing(html: str) -> ElementTree.Element:
    """The SVG of a figure, which must be well-formed."""
    found = re.search(r"<svg.*?</svg>", html)
    assert found is not None
    return ElementTree.fromstring(found[0])


def of_class(html: str, name: str) -> list[ElementTree.Element]:
    return [each for each in drawing(html).iter() if each.get("class") == name]


def points(html: str, name: str = "curve") -> list[list[tuple[float, float]]]:
    """The corners of each line of a class."""
    pairs = [[pair.split(",") for pair in each.attrib["points"].split()] for each in of_class(html, name)]
    return [[(float(x), float(y)) for x, y in line] for line in pairs]


def readings(html: str) -> list[Any]:
    found = re.search(r'data-points="(.*?)"', html)
    assert found is not None
    return json.loads(unescape(found[1]))


def test_a_curve_runs_from_the_left_edge_to_the_right_with_its_greatest_value_on_top() -> None:
    ((first, middle, last),) = points(line_chart("a", {"a": [(1, 0.0), (2, 10.0), (3, 5.0)]}))
    assert first[0] == 54
    assert last[0] == 468
    assert middle[0] == pytest.approx((first[0] + last[0]) / 2)
    assert middle[1] < last[1] < first[1]  # rows count downwards
    assert last[1] == pytest.approx((first[1] + middle[1]) / 2, abs=0.1)


def test_a_logarithmic_axis_has_equal_steps_for_equal_ratios_and_only_where_it_can() -> None:
    ((a, b, c),) = points(line_chart("a", {"a": [(1, 1.0), (2, 10.0), (3, 100.0)]}, log=True))
    assert a[1] - b[1] == pytest.approx(b[1] - c[1], abs=0.2)
    for values in ((0.0, 10.0, 100.0), (1.0, 2.0, 3.0)):  # none for 0, and it isn't worth it for these
        curve = {"a": list(enumerate(values))}
        assert line_chart("a", curve, log=True) == line_chart("a", curve)


def test_what_is_not_finite_interrupts_a_line_and_is_read_as_such() -> None:
    html = line_chart("a", {"a": [(1, 1.0), (2, 2.0), (3, math.nan), (4, math.inf), (5, 1.0), (6, 2.0)]})
    assert [len(line) for line in points(html)] == [2, 2]
    assert readings(html)[2][2] == [["a", "not finite"]]
    assert line_chart("a", {"a": [(1, math.nan)]}) == ""
    assert line_chart("a", {"a": []}) == ""


def test_many_points_are_drawn_as_means_within_a_band_of_their_extremes() -> None:
    noisy = [(step, 10.0 if step % 2 else 0.0) for step in range(10_000)]
    html = line_chart("a", {"a": noisy})
    ((*line,),) = points(html)
    assert len(line) <= BUCKETS
    assert {y for _, y in line} == {line[0][1]}  # each bucket holds as many of both
    ((*band,),) = points(html, "band")
    assert min(y for _, y in band) < line[0][1] < max(y for _, y in band)
    assert readings(html)[0][2] == [["a", "5"]]


def test_levels_are_drawn_where_their_values_lie_and_their_names_keep_apart() -> None:
    levels = {"bicubic": 20.0, "bicubic & more": 20.1, "oracle": 40.0, "none": math.nan}
    html = line_chart("PSNR", {"PSNR": [(1, 20.0), (2, 40.0)]}, "dB", levels=levels)
    lines = sorted(float(each.attrib["y1"]) for each in of_class(html, "level"))
    ((low, high),) = points(html)
    assert lines[0] == pytest.approx(high[1], abs=0.1)
    assert lines[-1] == pytest.approx(low[1], abs=0.1)
    notes = of_class(html, "note")
    assert [note.text for note in notes] == ["bicubic 20", "bicubic & more 20.1", "oracle 40"]
    places = sorted(float(note.attrib["y"]) for note in notes)
    assert all(b - a >= 12 for a, b in pairwise(places))


def test_a_mark_is_drawn_within_the_range_alone() -> None:
    curve = {"a": [(1.0, 1.0), (9.0, 2.0)]}
    ((mark,), (note,)) = (of_class(line_chart("a", curve, marks={"stage 2": 5}), name) for name in ("mark", "note"))
    assert float(mark.attrib["x1"]) == (54 + 468) / 2
    assert note.text == "stage 2"
    assert not of_class(line_chart("a", curve, marks={"stage 2": 10}), "mark")


def test_names_are_escaped_and_the_legend_tells_several_curves_apart() -> None:
    html = line_chart("<a>", {"x<y": [(1, 1.0), (2, 2.0)], "z": [(1, 3.0), (3, 4.0)]}, "dB")
    assert "<a>" not in html
    assert "x&lt;y" in html
    assert html.count('class="key"') == 2
    assert readings(html)[0][1:] == ["1", [["x<y", "1 dB"], ["z", "3 dB"]]]
    assert drawing(html).attrib["aria-label"] == "<a>, from step 1 to 3: least 1 dB, greatest 4 dB"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (34.71962, "34.72"),
        (0.00123456, "0.001235"),
        (2.5e-7, "2.50e-07"),
        (12345.6, "12,346"),
        (-3.0, "-3"),
    ],
)
def test_a_number_keeps_four_digits(value: float, text: str) -> None:
    assert number_text(value) == text


def test_a_sparkline_needs_two_values() -> None:
    assert sparkline([1.0]) == sparkline([math.nan, 2.0]) == ""
    assert ElementTree.fromstring(sparkline([1.0, math.nan, 3.0, 3.0])).find("polyline") is not None
    assert ElementTree.fromstring(sparkline([2.0, 2.0])).find("circle") is not None
