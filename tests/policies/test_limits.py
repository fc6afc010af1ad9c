"""Limits, and the arithmetic of rates."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskqueue.policies import KeyTemplate, Limit, Rate

SECOND = timedelta(seconds=1)
START = 1_800_000_000_000_000
"""A time as large as today's, in microseconds."""

rates = st.builds(
    Rate,
    st.integers(1, 12),
    per=st.integers(1_000, 10_000).map(lambda micros: timedelta(microseconds=micros)),
    burst=st.integers(1, 5),
)
gaps = st.lists(st.integers(0, 3_000), min_size=1, max_size=80)


def admission_times(rate: Rate, gaps: list[int], costs: list[int]) -> list[int]:
    """When requests with these gaps between them are admitted, in microseconds; once per unit of cost."""
    tat, now, admitted = None, START, []
    for gap, cost in zip(gaps, costs, strict=False):
        now += gap
        came = now / 1_000_000
        admission = rate.next_free(tat, came, min(cost, rate.burst))
        tat = admission.tat
        if admission.allowed_at <= came:
            admitted += [now] * min(cost, rate.burst)
    return admitted


def most_in_a_window(moments: list[int], length: int) -> int:
    """The most admissions in any half-open window; such a window may begin at an admission."""
    return max(sum(start <= moment < start + length for moment in moments) for start in moments)


@given(rate=rates, gaps=gaps, costs=st.lists(st.integers(1, 5), min_size=80, max_size=80))
def test_no_window_admits_more_than_count_and_burst(rate, gaps, costs):
    admitted = admission_times(rate, gaps, costs)

    assert most_in_a_window(admitted, rate.per // timedelta(microseconds=1)) <= rate.count + rate.burst - 1


@given(count=st.integers(1, 12), per=st.integers(1_000, 5_000), gaps=gaps)
def test_without_a_burst_no_window_admits_more_than_the_count(count, per, gaps):
    rate = Rate(count, per=timedelta(microseconds=per))

    admitted = admission_times(rate, gaps, [1] * len(gaps))

    assert most_in_a_window(admitted, per) <= count


@given(rate=rates, gaps=gaps)
def test_a_refused_request_is_admitted_from_its_allowed_time_on(rate, gaps):
    tat, now = None, START / 1_000_000
    for gap in gaps:
        now = (round(now * 1_000_000) + gap) / 1_000_000
        admission = rate.next_free(tat, now)
        if admission.allowed_at > now:
            early = (round(admission.allowed_at * 1_000_000) - 1) / 1_000_000
            assert admission.tat == tat
            assert rate.next_free(tat, early).allowed_at == admission.allowed_at
            assert rate.next_free(tat, admission.allowed_at).allowed_at == admission.allowed_at
            assert rate.next_free(tat, admission.allowed_at).tat > tat
        tat = admission.tat


def test_a_full_rate_is_evenly_spaced():
    rate = Rate(10, per=SECOND)

    assert rate.next_free(None, 5.0) == (5.0, 5.1)
    assert rate.next_free(5.1, 5.05) == (5.1, 5.1)
    assert rate.next_free(5.1, 5.1) == (5.1, 5.2)
    assert rate.next_free(5.1, 7.0) == (7.0, 7.1)


def test_a_burst_runs_at_once_after_an_idle_time():
    rate = Rate(10, per=SECOND, burst=3)
    tat, allowed = None, []
    for _ in range(4):
        admission = rate.next_free(tat, 5.0)
        tat = admission.tat
        allowed.append(admission.allowed_at)

    assert allowed == [5.0, 5.0, 5.0, 5.1]


@pytest.mark.parametrize("cost", [0, 4, True])
def test_a_request_costs_at_most_the_burst(cost):
    with pytest.raises(ValueError, match="cost is a whole number from 1 to 3"):
        Rate(10, per=SECOND, burst=3).next_free(None, 0.0, cost)


@given(rate=rates)
def test_count_intervals_are_never_shorter_than_the_period(rate):
    assert rate.per <= rate.interval * rate.count < rate.per + rate.count * timedelta(microseconds=1)
    assert rate.tolerance == rate.interval * (rate.burst - 1)


def test_a_third_of_a_second_is_rounded_up():
    assert Rate(3, per=SECOND).interval == timedelta(microseconds=333_334)


def test_a_limit_or_rate_without_a_key_has_no_template():
    assert Limit(2).template is None
    assert Rate(2, per=SECOND).template is None


def test_a_limit_or_rate_with_a_key_has_its_template():
    assert Limit(2, key="{tenant}").template == KeyTemplate("{tenant}")
    assert Rate(2, per=SECOND, key="{tenant}").template == KeyTemplate("{tenant}")


@pytest.mark.parametrize("name", ["a", "0", "demo-api", "demo/api.v2_x", "a" * 100])
def test_a_rate_may_have_a_name(name):
    assert Rate(1, per=SECOND, name=name).name == name


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Limit(0), "from 1 to 100,000"),
        (lambda: Limit(100_001), "from 1 to 100,000"),
        (lambda: Limit(most=True), "whole number"),
        (lambda: Limit(2.0), "whole number"),  # type: ignore[arg-type]
        (lambda: Limit(2, key="tenant"), "has no field"),
        (lambda: Rate(0, per=SECOND), "count is a whole number from 1 to 1,000,000"),
        (lambda: Rate(count=True, per=SECOND), "count is a whole number"),
        (lambda: Rate(1, per=float("nan")), "per is a timedelta"),
        (lambda: Rate(1, per=timedelta(microseconds=999)), "from 1 millisecond to 31 days"),
        (lambda: Rate(1, per=timedelta(days=32)), "from 1 millisecond to 31 days"),
        (lambda: Rate(1_001, per=timedelta(milliseconds=1)), "per microsecond"),
        (lambda: Rate(1, per=SECOND, burst=0), "burst is a whole number"),
        (lambda: Rate(1, per=SECOND, burst=100_001), "from 1 to 100,000"),
        (lambda: Rate(1, per=SECOND, key="{}"), "is empty"),
        (lambda: Rate(1, per=SECOND, name="Demo"), "rate name"),
        (lambda: Rate(1, per=SECOND, name="a" * 101), "rate name"),
        (lambda: Rate(1, per=SECOND, name="demo\n"), "rate name"),
    ],
)
def test_an_invalid_limit_or_rate_is_refused_at_definition(make, says):
    with pytest.raises(ValueError, match=says):
        make()
