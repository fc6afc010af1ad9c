"""Policies: frozen values that validate themselves and calculate, without I/O.

retry: waits between attempts · limits: concurrency and rates · triggers: events, debounce, batch and singleton ·
cron: schedules · keys: key templates · matching: which events match · histograms: durations · paths, bounds: shared
"""

from taskqueue.policies.cron import Cron
from taskqueue.policies.keys import KEY_MAX, KeyTemplate
from taskqueue.policies.limits import MAX_CONCURRENCY, Admission, Limit, Rate
from taskqueue.policies.matching import (
    canonical,
    check_match,
    digest_for,
    match_digest,
    match_fields,
    matches,
)
from taskqueue.policies.retry import JITTER, MAX_RETRIES, MAX_RETRY_WAIT, Retry
from taskqueue.policies.triggers import EVENT_NAME_MAX, Batch, CancelOn, Debounce, On, Singleton, is_event_name

__all__ = [
    "EVENT_NAME_MAX",
    "JITTER",
    "KEY_MAX",
    "MAX_CONCURRENCY",
    "MAX_RETRIES",
    "MAX_RETRY_WAIT",
    "Admission",
    "Batch",
    "CancelOn",
    "Cron",
    "Debounce",
    "KeyTemplate",
    "Limit",
    "On",
    "Rate",
    "Retry",
    "Singleton",
    "canonical",
    "check_match",
    "digest_for",
    "is_event_name",
    "match_digest",
    "match_fields",
    "matches",
]
