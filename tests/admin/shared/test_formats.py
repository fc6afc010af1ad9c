"""Formats of times, durations, counts and JSON."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from taskqueue.admin.shared import formats

NOW = datetime(2026, 3, 1, 12, 0, 0, 123_999, tzinfo=UTC)


@pytest.mark.parametrize(
    ("length", "text"),
    [
        (None, "\N{EN DASH}"),
        (timedelta(seconds=-3), "0ms"),
        (timedelta(0), "0ms"),
        (timedelta(microseconds=400), "<1ms"),
        (timedelta(milliseconds=453), "453ms"),
        (timedelta(microseconds=999_999), "999ms"),
        (timedelta(seconds=1), "1.0s"),
        (timedelta(seconds=1.99), "1.9s"),
        (timedelta(seconds=9.999), "9.9s"),
        (timedelta(seconds=10), "10s"),
        (timedelta(seconds=59.99), "59s"),
        (timedelta(seconds=60), "1m 00s"),
        (timedelta(minutes=3, seconds=44), "3m 44s"),
        (timedelta(minutes=59, seconds=59.9), "59m 59s"),
        (timedelta(hours=2, minutes=5), "2h 05m"),
        (timedelta(hours=23, minutes=59, seconds=59), "23h 59m"),
        (timedelta(days=3, hours=4, minutes=59), "3d 04h"),
        (timedelta(days=400), "400d 00h"),
    ],
)
def test_a_duration_is_never_negative_and_rounded_down(length, text):
    assert formats.duration(length) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "just now"),
        (-0.9, "just now"),
        (0.9, "just now"),
        (-1, "1s ago"),
        (-59, "59s ago"),
        (-60, "1m ago"),
        (-3_599, "59m ago"),
        (-3_600, "1h ago"),
        (-86_399, "23h ago"),
        (-86_400, "1d ago"),
        (-45 * 86_400, "45d ago"),
        (780, "in 13m"),
    ],
)
def test_a_relative_time_has_its_largest_unit(seconds, text):
    assert formats.relative(NOW + timedelta(seconds=seconds), NOW) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(540, "runs in 9m"), (1, "runs in 1s"), (0.9, "due now"), (0, "due now"), (-60, "due now")]
)
def test_a_past_due_time_reads_due_now(seconds, text):
    assert formats.due("runs", NOW + timedelta(seconds=seconds), NOW) == text


def test_an_exact_time_is_in_utc():
    there = NOW.astimezone(timezone(timedelta(hours=-8)))

    assert formats.exact(there) == "2026-03-01 12:00:00.123 UTC"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        ([], "no retries"),
        ([1.5], "up to 1 retry (1.5s)"),
        ([1, 2, 4, 8], "up to 4 retries (1s, 2s, 4s, 8s)"),
        ([300, 1_800, 7_200, 21_600, 55_500], "up to 5 retries (5m, 30m, 2h, 6h, 15h 25m)"),
        ([90_061], "up to 1 retry (1d 1h 1m 1s)"),
    ],
)
def test_a_retry_policy_is_formatted(seconds, text):
    assert formats.retry_policy(seconds) == text


def test_between_is_never_negative_and_needs_both_ends():
    assert formats.between(NOW, NOW - timedelta(seconds=1)) == timedelta(0)
    assert formats.between(None, NOW) is None
    assert formats.between(NOW, None) is None


@pytest.mark.parametrize(
    ("text", "line"),
    [("", ""), ("\n\n  why \nand more", "why"), ("x" * 201, "x" * 199 + "…"), ("x" * 200, "x" * 200)],
)
def test_a_message_is_cut_to_its_first_line(text, line):
    assert formats.first_line(text) == line


def test_json_is_indented_and_unchanged():
    assert formats.excerpt({"name": "Zoë", "big": 12345678901234567890}).text == (
        '{\n  "name": "Zoë",\n  "big": 12345678901234567890\n}'
    )


def test_very_large_json_is_cut_at_64_kb_without_breaking_a_character():
    excerpt = formats.excerpt("é" * 40_000)

    assert excerpt.is_cut
    assert excerpt.size == 80_002
    assert excerpt.text == '"' + "é" * 32_767
