"""Retry arithmetic."""

from __future__ import annotations

import math
from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskqueue import Retry
from taskqueue.policies import JITTER, MAX_RETRIES, MAX_RETRY_WAIT

waits = st.timedeltas(timedelta(0), timedelta(days=3650))
jitter = st.floats(0, 1)


@given(first=waits, longest=waits, retries=st.integers(0, 50), factor=st.floats(1, 1e300))
def test_exponential_waits_grow_up_to_the_longest(first, longest, retries, factor):
    policy = Retry.exponential(first=first, retries=retries, factor=factor, longest=longest)

    assert policy.retries == retries
    assert all(timedelta(0) <= wait <= longest for wait in policy.waits)
    assert all(earlier <= later for earlier, later in pairwise(policy.waits))
    assert policy.waits[:1] == (min(first, longest),) * min(retries, 1)


@given(wait=waits, retries=st.integers(0, 50))
def test_fixed_waits_are_equal(wait, retries):
    assert Retry.fixed(wait, retries=retries).waits == (wait,) * retries


@given(given_waits=st.lists(waits, max_size=8), failures=st.integers(1, 20), jitter=jitter)
def test_a_wait_varies_by_its_jitter_until_retries_are_used_up(given_waits, failures, jitter):
    policy = Retry(waits=tuple(given_waits))

    wait = policy.wait_after(failures, jitter=jitter)

    if failures > len(given_waits):
        assert wait is None
    else:
        planned = given_waits[failures - 1]
        assert wait is not None
        assert abs(wait - planned) <= planned * JITTER + timedelta(microseconds=1)


def test_jitter_chooses_between_the_shortest_and_longest_wait():
    policy = Retry.fixed(timedelta(seconds=100), retries=1)

    placed = [policy.wait_after(1, jitter=jitter) for jitter in (0, 0.5, 1)]

    assert placed == [timedelta(seconds=90), timedelta(seconds=100), timedelta(seconds=110)]


def test_the_default_is_five_retries_over_24_hours():
    assert Retry().retries == 5
    assert sum(Retry().waits, timedelta(0)) == timedelta(hours=24)


def test_exponential_doubles_by_default():
    policy = Retry.exponential(first=timedelta(seconds=1), retries=5, longest=timedelta(seconds=10))

    assert [wait.total_seconds() for wait in policy.waits] == [1, 2, 4, 8, 10]


def test_never_has_no_retries():
    assert Retry.never().wait_after(1, jitter=0.5) is None


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Retry(waits=(timedelta(seconds=-1),)), "negative"),
        (lambda: Retry(waits=(MAX_RETRY_WAIT + timedelta(days=1),)), "at most 3,650 days"),
        (lambda: Retry(waits=(timedelta(0),) * (MAX_RETRIES + 1)), "at most 10,000 retries"),
        (lambda: Retry(give_up_on=("ValueError",)), "exception classes"),  # type: ignore[arg-type]
        (lambda: Retry(give_up_on=(ValueError(),)), "exception classes"),  # type: ignore[arg-type]
        (lambda: Retry.fixed(timedelta(seconds=1), retries=-1), "from 0 to 10,000"),
        (lambda: Retry.fixed(timedelta(seconds=-1), retries=1), "negative"),
        (lambda: Retry.fixed(timedelta.max, retries=1), "at most"),
        (lambda: Retry.exponential(first=timedelta(1), retries=1, factor=0.5), "1 or more"),
        (lambda: Retry.exponential(first=timedelta(1), retries=1, factor=math.nan), "1 or more"),
        (lambda: Retry.exponential(first=timedelta(1), retries=1, factor=math.inf), "1 or more"),
        (lambda: Retry.exponential(first=timedelta(1), retries=10**9), "from 0 to 10,000"),
    ],
)
def test_an_invalid_policy_is_refused_at_definition(make, says):
    with pytest.raises(ValueError, match=says):
        make()


def test_a_policy_applies_to_all_errors_except_give_up_on():
    policy = Retry(give_up_on=(LookupError,))

    assert policy.applies_to(ValueError())
    assert not policy.applies_to(KeyError())
