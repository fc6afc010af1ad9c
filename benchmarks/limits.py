"""The speed of limited pipelines, relative to the unlimited one."""

from __future__ import annotations

import statistics
from typing import Final

from benchmarks.contenders import our_workers, warm
from benchmarks.pipelines import by_key, by_rate, by_ten, one_step
from benchmarks.processes import workers

ROUNDS: Final = 3
TASKS: Final = 1000


def speed_under_limits() -> tuple[float, ...]:
    """Under `concurrency=10`, with 200 keys of one slot each, and under a throttle that lets every task start."""
    with workers() as pid:
        contenders = [our_workers(pid, {1: each}) for each in (one_step, by_ten, by_key, by_rate)]
        with warm(*contenders):
            rounds = [[each.drain(1, TASKS, is_analyzed=True).figure for each in contenders] for _ in range(ROUNDS)]
    return tuple(statistics.median(each[limit] / each[0] for each in rounds) for limit in (1, 2, 3))
