"""Histograms of durations that add up: counts in buckets whose bounds are the same everywhere and for ever.

The upper bound of each bucket is 2^(1/4) times that of the one before it, from a millisecond to twelve days, so what is
read from a sum of histograms is off by less than a fifth.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import timedelta

PER_OCTAVE = 4
BUCKETS = 120


def bucket_of(length: timedelta) -> int:
    """The bucket in which a duration is counted."""
    milliseconds = max(length / timedelta(milliseconds=1), 1.0)
    return min(math.floor(math.log2(milliseconds) * PER_OCTAVE), BUCKETS - 1)


def lower_bound(bucket: float) -> timedelta:
    """The shortest duration that is counted in a bucket; of a fraction of a bucket, what lies between."""
    return timedelta(milliseconds=2.0 ** (bucket / PER_OCTAVE))


def merged(histograms: Iterable[Sequence[int]]) -> list[int]:
    """The sum of several, place by place; shorter ones have nothing in the places that they lack."""
    total: list[int] = []
    for counts in histograms:
        if len(counts) > len(total):
            total.extend([0] * (len(counts) - len(total)))
        for place, number in enumerate(counts):
            total[place] += number
    return total


def percentile(counts: Sequence[int], share: float) -> timedelta | None:
    """The duration that this share of all did not exceed, within the bucket by even spread; None of nothing."""
    total = sum(counts)
    if not total:
        return None
    rank, passed = share * total, 0
    for bucket, number in enumerate(counts):
        if number and passed + number >= rank:
            return lower_bound(bucket + max(rank - passed, 0.0) / number)
        passed += number
    return lower_bound(len(counts))
