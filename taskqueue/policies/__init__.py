"""Policies as frozen values: they validate themselves, calculate, and touch nothing.

retry: when a failed step is tried again · limits: how many at a time and in a period · starts: what starts, gathers and
cancels tasks · cron: starts by the clock · keys: templates of keys · matching: which events fit · paths, bounds: shared
"""

from taskqueue.policies.cron import Cron
from taskqueue.policies.keys import KEY_MAX, Keyed, KeyTemplate
from taskqueue.policies.limits import MOST_AT_A_TIME, Admission, Limit, Rate
from taskqueue.policies.matching import (
    MATCH_MAX,
    canonical,
    check_match,
    digest_for,
    match_digest,
    match_fields,
    matches,
)
from taskqueue.policies.retry import JITTER, LONGEST_WAIT, MOST_RETRIES, Retry
from taskqueue.policies.starts import EVENT_NAME_MAX, Batch, CancelOn, Debounce, On, Singleton, is_event_name

__all__ = [
    "EVENT_NAME_MAX",
    "JITTER",
    "KEY_MAX",
    "LONGEST_WAIT",
    "MATCH_MAX",
    "MOST_AT_A_TIME",
    "MOST_RETRIES",
    "Admission",
    "Batch",
    "CancelOn",
    "Cron",
    "Debounce",
    "KeyTemplate",
    "Keyed",
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
