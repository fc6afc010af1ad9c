"""Histograms can be added, and their percentiles are right to a fifth."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskqueue.policies.histograms import BUCKETS, bucket_of, lower_bound, merged, percentile

LENGTHS = st.integers(min_value=1, max_value=10 * 24 * 3600 * 1000).map(lambda each: timedelta(milliseconds=each))


def histogram(lengths: list[timedelta]) -> list[int]:
    counts = [0] * BUCKETS
    for length in lengths:
        counts[bucket_of(length)] += 1
    return counts


@given(LENGTHS)
def test_a_duration_is_within_its_bucket(length):
    bucket = bucket_of(length)

    assert lower_bound(bucket) <= length + timedelta(microseconds=1)
    assert length < lower_bound(bucket + 1) + timedelta(microseconds=1)


def test_extreme_durations_are_counted_in_the_outer_buckets():
    assert bucket_of(timedelta(0)) == bucket_of(timedelta(seconds=-1)) == 0
    assert bucket_of(timedelta(days=1000)) == BUCKETS - 1


@given(st.lists(LENGTHS, min_size=1, max_size=50), st.lists(LENGTHS, min_size=1, max_size=50))
def test_merged_is_the_histogram_of_all_durations(ones, others):
    assert merged([histogram(ones), histogram(others)]) == histogram(ones + others)


@given(st.lists(LENGTHS, min_size=1, max_size=80), st.sampled_from([0.5, 0.95, 0.99]))
def test_a_percentile_is_exact_to_one_bucket(lengths, share):
    ranked = sorted(lengths)
    exact = ranked[max(-(-round(share * len(ranked) * 10_000) // 10_000) - 1, 0)]

    read = percentile(histogram(lengths), share)

    assert read is not None
    assert exact / 1.2 <= read <= exact * 1.2 + timedelta(microseconds=1)


@pytest.mark.parametrize("counts", [[], [0, 0]])
def test_an_empty_histogram_has_no_percentile(counts):
    assert percentile(counts, 0.5) is None


def test_shorter_histograms_count_as_zero_in_missing_buckets():
    assert merged([[1], [], [0, 0, 2]]) == [1, 0, 2]
