"""Charts: where things are drawn, and round numbers on the axes."""

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wheatear.svg import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Axis, bars, chart, dots, line, ticks

X, Y = Axis("<x>", 0, 10), Axis("y & z", -1, 1)


def test_corners_and_what_lies_beyond() -> None:
    svg = ElementTree.fromstring(chart("t", X, Y, [line([(0, -1), (10, 1), (99, 99)], "#000")]))
    points = svg.find("polyline").get("points").split()
    assert points[0] == f"{LEFT}.0,{HEIGHT - BOTTOM}.0"
    assert points[1] == points[2] == f"{WIDTH - RIGHT}.0,{TOP}.0"


def test_names_are_escaped_and_shown() -> None:
    svg = ElementTree.fromstring(chart('"a" <b>', X, Y, [dots([(5, 0)], "#000", ["<photo>"])]))
    assert svg.get("aria-label") == '"a" <b>'
    assert svg.find("circle/title").text == "<photo>"
    assert {"<x>", "y & z"} <= {text.text for text in svg.iter("text")}


def test_bars_start_at_0_up_or_down() -> None:
    svg = ElementTree.fromstring(chart("t", X, Y, [bars([(0, 1, 0.5), (1, 2, -0.5)], "#000")]))
    up, down = svg.findall("rect")
    middle = TOP + (HEIGHT - TOP - BOTTOM) / 2
    assert float(up.get("y")) + float(up.get("height")) == pytest.approx(middle)
    assert float(down.get("y")) == pytest.approx(middle)
    assert up.get("height") == down.get("height")


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0, 7, [0, 2, 4, 6]),
        (-3, 3, [-2, 0, 2]),
        (10, 230, [50, 100, 150, 200]),
    ],
)
def test_ticks_by_hand(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


@given(low=st.floats(-1e6, 1e6), span=st.floats(1e-2, 1e6))
def test_ticks_are_few_and_within(low: float, span: float) -> None:
    found = ticks(low, low + span)
    assert 1 <= len(found) <= 6
    assert low - span * 1e-6 <= found[0]
    assert found[-1] <= low + span * (1 + 1e-6)


@pytest.mark.parametrize(("high", "expected"), [(1, [0, 1]), (2.1, [0, 1, 2]), (7, [0, 2, 4, 6])])
def test_ticks_of_what_comes_in_ones(high: float, expected: list[float]) -> None:
    assert ticks(0, high, whole=True) == expected


def test_no_tick_between_two_of_what_comes_in_ones() -> None:
    svg = chart("t", Axis("heads", 0, 2.1), Axis("photos", 0, 2.1, whole=True), [])
    assert svg.count(">0.5</text>") == 1
    assert svg.count(">2</text>") == 2


def test_an_axis_may_bring_its_own_ticks() -> None:
    svg = chart("t", Axis("x", 0, 1, [(0.5, "10–20")]), Y, [])
    assert ">10–20</text>" in svg
    assert ">0.2</text>" not in svg
