"""The waterfall: its arithmetic and its SVG."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree as ET

import pytest

from taskqueue.admin.task import waterfall
from taskqueue.admin.task.waterfall import Scale, Span

START = datetime(2030, 1, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def scale(seconds: float, now: float | None = None) -> Scale:
    return Scale(START, at(seconds), None if now is None else at(now))


def span(
    start: float, end: float, status: str = "succeeded", label: str = "Attempt 1", *, is_hollow: bool = False
) -> Span:
    return Span(status=status, start=at(start), end=at(end), label=label, is_hollow=is_hollow)


def shapes(svg: str, cls: str) -> list[dict[str, str]]:
    """The attributes of all shapes of a class; the SVG must be well-formed."""
    return [each.attrib for each in ET.fromstring(svg).iter() if cls in each.attrib.get("class", "").split()]  # noqa: S314 - our own


@pytest.mark.parametrize(
    ("seconds", "labels"),
    [
        (0, ["0", "1ms"]),
        (0.006, ["0", "1ms", "2ms", "3ms", "4ms", "5ms", "6ms"]),
        (1.9, ["0", "500ms", "1s", "1.5s"]),
        (7, ["0", "2s", "4s", "6s"]),
        (29, ["0", "5s", "10s", "15s", "20s", "25s"]),
        (100, ["0", "30s", "1m", "1m 30s"]),
        (150, ["0", "30s", "1m", "1m 30s", "2m", "2m 30s"]),
        (11 * 60, ["0", "2m", "4m", "6m", "8m", "10m"]),
        (3 * 3600, ["0", "30m", "1h", "1h 30m", "2h", "2h 30m", "3h"]),
        (86_400 * 3, ["0", "12h", "1d", "1d 12h", "2d", "2d 12h", "3d"]),
    ],
)
def test_ticks_have_round_distances(seconds, labels):
    assert [label for _at, label in scale(seconds).ticks] == labels


def test_ticks_are_few_and_in_order_for_any_length():
    for exponent in range(-4, 9):
        for factor in (1, 1.3, 2.7, 4.9, 7.7):
            ticks = scale(factor * 10**exponent).ticks
            positions = [position for position, _label in ticks]
            assert positions == sorted(set(positions))
            assert 1 < len(ticks) <= waterfall.MAX_TICKS + 1, (exponent, factor, ticks)
            assert all(0 <= position <= 100 for position in positions)


def test_bars_are_placed_by_their_times():
    (first, second) = shapes(waterfall.track(scale(10), [span(0, 5, "failed"), span(7.5, 10)]), "tq-bar")

    assert (first["x"], first["width"], second["x"], second["width"]) == ("0.0%", "50.0%", "75.0%", "25.0%")
    assert first["class"] == "tq-bar tq-is-failed"


def test_a_short_bar_is_visible_even_at_the_end():
    (middle, last) = shapes(waterfall.track(scale(10_000), [span(5000, 5000.001), span(10_000, 10_000)]), "tq-bar")

    assert (middle["width"], last["width"], last["x"]) == ("0.5%", "0.5%", "99.5%")


def test_a_bar_outside_the_axis_is_clamped():
    (early,) = shapes(waterfall.track(scale(10), [span(-100, 20)]), "tq-bar")

    assert (early["x"], early["width"]) == ("0.0%", "100.0%")


def test_dashed_lines_connect_attempts_and_reach_the_next_one():
    svg = waterfall.track(scale(10), [span(0, 1, "failed"), span(3, 4, "failed")], backoff_until=at(10))

    assert [(line["x1"], line["x2"]) for line in shapes(svg, "tq-backoff")] == [("10.0%", "30.0%"), ("40.0%", "100.0%")]


def test_waits_are_hollow():
    (wait,) = shapes(waterfall.track(scale(10), [span(0, 10, "waiting", "Sleep", is_hollow=True)]), "tq-hollow")

    assert wait["class"] == "tq-bar tq-is-waiting tq-hollow"


def test_the_now_line_is_drawn_until_the_task_ends():
    assert [line["x1"] for line in shapes(waterfall.track(scale(10, now=10), []), "tq-now")] == ["100.0%"]
    assert shapes(waterfall.track(scale(10), []), "tq-now") == []


def test_a_screen_reader_gets_the_bars_as_text():
    svg = waterfall.track(
        scale(10), [span(0, 1.5, "failed", "Attempt 1, failed"), span(3, 4, label="Attempt 2, succeeded")]
    )

    assert 'aria-label="Attempt 1, failed, 1.5s; Attempt 2, succeeded, 1.0s"' in svg
    assert "<title>Attempt 1, failed: 1.5s, from 2030-01-01 00:00:00.000 UTC</title>" in svg


def test_hostile_labels_are_escaped_and_no_style_is_inline():
    svg = waterfall.track(scale(10), [span(0, 1, label='"><script>alert(1)</script>')])

    assert "<script" not in svg
    assert not re.search(r"\sstyle=", svg + waterfall.axis(scale(10)))


def test_the_last_label_stays_inside_the_axis():
    texts = [each.attrib["text-anchor"] for each in ET.fromstring(waterfall.axis(scale(6))).iter("text")]  # noqa: S314

    assert texts == ["start", "middle", "middle", "middle", "middle", "middle", "end"]
