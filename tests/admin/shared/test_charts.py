"""Charts, parsed as XML."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree

import pytest

from taskqueue.admin.shared.charts import (
    LEFT_MARGIN,
    PLOT_HEIGHT,
    TOP_MARGIN,
    Bar,
    BarSegment,
    Line,
    count_axis_end,
    duration_axis_end,
    line_path,
    lines,
    microbars,
    seconds_label,
    sparkline,
    stacked_bars,
)

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def drawn(svg: str) -> ElementTree.Element:
    """Parse a chart, which must be well-formed and have no style attribute."""
    assert "style=" not in svg
    return ElementTree.fromstring(svg)  # noqa: S314 - our own


def percent(text: str) -> float:
    assert text.endswith("%")
    return float(text[:-1])


def bars(*values: tuple[int, int]) -> list[Bar]:
    return [
        Bar(
            NOON + index * HOUR,
            (BarSegment("green", good), BarSegment("red", bad)),
            f"bar {index}",
            f"/list?bar={index}&x=<1>",
        )
        for index, (good, bad) in enumerate(values)
    ]


def test_each_bar_is_a_link_with_stacked_segments():
    chart = drawn(
        stacked_bars(
            bars((60, 40), (0, 0), (25, 0)),
            label="How they ended",
            until=NOON + 3 * HOUR,
            counted_until=NOON + 3 * HOUR,
        )
    )

    links = chart.findall("a")
    assert [link.get("href") for link in links] == [f"/list?bar={index}&x=<1>" for index in range(3)]
    assert [link.findtext("title") for link in links] == ["bar 0", "bar 1", "bar 2"]
    green, red = [rect for rect in links[0].findall("rect") if rect.get("class") != "tq-hover-area"]
    assert percent(green.get("height", "")) == pytest.approx(0.6 * PLOT_HEIGHT, abs=0.02)
    assert percent(green.get("y", "")) == pytest.approx(TOP_MARGIN + 0.4 * PLOT_HEIGHT, abs=0.02)
    assert percent(red.get("y", "")) == pytest.approx(TOP_MARGIN, abs=0.02)
    assert len(links[1].findall("rect")) == 1  # the hover area alone


def test_chart_links_are_not_tab_stops():
    chart = drawn(
        stacked_bars(bars((1, 1), (2, 2)), label="How they ended", until=NOON + 2 * HOUR, counted_until=NOON + 2 * HOUR)
    )

    assert (chart.get("role"), chart.get("aria-label")) == ("group", "How they ended")
    assert {link.get("tabindex") for link in chart.findall("a")} == {"-1"}


def test_axes_have_counts_and_times():
    chart = drawn(stacked_bars(bars(*[(90, 0)] * 6), label="x", until=NOON + 6 * HOUR, counted_until=NOON + 6 * HOUR))

    labels = [text.text for text in chart.findall("text")]
    assert labels[:5] == ["0", "25", "50", "75", "100"]
    assert labels[5:] == ["Mar 04, 12:00", "13:00", "14:00", "15:00", "16:00", "17:00"]
    positions = [percent(text.get("x", "")) for text in chart.findall("text")[5:]]
    assert positions[0] == LEFT_MARGIN
    assert all(0 <= position < 100 for position in positions)


def test_a_week_is_labelled_with_dates():
    chart = drawn(lines([], label="x", start=NOON, until=NOON + timedelta(days=7)))

    assert [text.text for text in chart.findall("text")][-3:] == ["Mar 06", "Mar 08", "Mar 10"]


def test_empty_data_still_draws_a_chart():
    assert drawn(stacked_bars(bars((0, 0)), label="x", until=NOON + HOUR, counted_until=NOON + HOUR)).findall("a")
    assert drawn(stacked_bars([], label="x", until=NOON, counted_until=NOON)).get("role") == "group"
    assert drawn(sparkline([], hue="blue", label="x")).get("role") == "img"
    assert drawn(lines([Line("blue", "p50", [None, None])], label="x", start=NOON, until=NOON + HOUR)) is not None
    assert drawn(microbars([], label="x")).findall("rect") == []


def test_a_sparkline_is_scaled_to_its_maximum():
    chart = drawn(sparkline([0, 5, None, 10], hue="blue", label="Most at once: 10"))

    line = chart.find("polyline")
    assert line is not None
    assert line.get("points") == "0,28 33.33,15 66.67,28 100,2"
    assert chart.get("aria-label") == "Most at once: 10"


def test_a_gap_in_a_line_stays_a_gap():
    assert line_path([10, None, 5, 10], 10) == "M6.25,0 L12.5,0 M56.25,50 L62.5,50 L87.5,0"


def test_lines_have_a_name_and_a_colour():
    series = [Line("blue", "p50", [1.0, 2.0]), Line("grey", "p99", [3.0, 4.0])]
    chart = drawn(lines(series, label="Durations", start=NOON, until=NOON + HOUR))

    assert [path.findtext("title") for path in chart.findall("svg/path")] == ["p50", "p99"]
    assert [path.get("class") for path in chart.findall("svg/path")] == [
        "tq-stroke tq-hue-blue",
        "tq-stroke tq-hue-grey",
    ]
    assert [text.text for text in chart.findall("text")][:5] == ["0s", "1s", "2s", "3s", "4s"]


def test_hostile_labels_are_escaped():
    label = '"><script>x</script>'
    hostile = [Bar(NOON, (BarSegment("green", 1),), label, 'javascript:"')]

    assert "<script>" not in stacked_bars(hostile, label=label, until=NOON + HOUR, counted_until=NOON + HOUR)
    assert drawn(microbars(hostile, label=label)).get("aria-label") == label


@pytest.mark.parametrize(
    ("value", "top"),
    [(0, 4), (1, 4), (4, 4), (5, 8), (9, 20), (23, 40), (41, 80), (81, 100), (101, 200), (700, 800), (4001, 8000)],
)
def test_count_axes_have_whole_numbers(value, top):
    assert count_axis_end(value) == top


@pytest.mark.parametrize(
    ("seconds", "top"),
    [(0, 0.004), (0.03, 0.04), (0.9, 2), (3, 4), (50, 60), (100, 120), (429, 480), (5000, 7200), (90_000, 172_800)],
)
def test_duration_axes_have_round_steps(seconds, top):
    assert duration_axis_end(seconds) == pytest.approx(top)


@pytest.mark.parametrize(
    ("value", "label"),
    [(0, "0s"), (0.25, "250ms"), (1.5, "1.5s"), (90, "90s"), (150, "2.5m"), (7200, "2h"), (172_800, "2d")],
)
def test_durations_on_an_axis_are_short(value, label):
    assert seconds_label(value) == label
