"""Ids sort by time, within a process and between processes."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from uuid import RFC_4122

from taskqueue.ids import uuid7


def test_an_id_is_a_uuid_version_7_of_now():
    before = time.time_ns() // 1_000_000
    made = uuid7()
    after = time.time_ns() // 1_000_000

    assert (made.version, made.variant) == (7, RFC_4122)
    assert before <= made.int >> 80 <= after


def test_ids_sort_within_a_millisecond():
    made = []
    for _ in range(50):
        made.append(uuid7())
        time.sleep(0.000_002)  # the clock's own step, not a wait for anything

    assert made == sorted(made)


def test_ids_are_unique():
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: uuid7(), range(20_000)))

    assert len(set(made)) == 20_000
