"""The rows of the table: what each measures, what it is compared with, and what is wanted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from benchmarks import (
    claims,
    dashboard,
    http_requests,
    limits,
    many_at_once,
    parallel_async,
    prune,
    recovery,
    relative_to_sketch,
    waiting,
)
from benchmarks.figures import Figures


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
        unit: of the figures, one word for each.
        measure: does the work, and returns the figures.
        wanted: the ratio that the design requires, or the figure if there is no floor.
        meaning: what is measured, and what the ratio means.
        floor: what the ratio refers to; empty without one.
    """

    name: str
    unit: str
    measure: Callable[[], Figures | tuple[float, ...] | float]
    wanted: str
    meaning: str
    floor: str = ""


SKETCH: Final = "sketch"
BARE_VIEW: Final = "bare view"

TASK_ROWS: Final = [
    Row(
        "one-step tasks, new database",
        "tasks/s",
        partial(relative_to_sketch.one_step_tasks_per_second, is_analyzed=False),
        "≥ 0.8",
        f"{relative_to_sketch.TASKS:,} tasks of one step are committed at once to idle workers. The rate from the first"
        " start to the last end, relative to the sketch's; the CPU time of a task.",
        SKETCH,
    ),
    Row(
        "one-step tasks, analyzed",
        "tasks/s",
        partial(relative_to_sketch.one_step_tasks_per_second, is_analyzed=True),
        "≥ 0.8",
        "As the row above, with a history of ended tasks and fresh statistics. A difference between both rows is a "
        "plan that depends on statistics.",
        SKETCH,
    ),
    Row(
        "one-step tasks, idempotent",
        "tasks/s",
        relative_to_sketch.idempotent_tasks_per_second,
        "3,000/s",
        "Tasks of one step of a pipeline with `idempotent=True`, of which several end in one commit, relative to the "
        "sketch, which commits each; the CPU time of a task.",
        SKETCH,
    ),
    Row(
        "five-step tasks, new database",
        "steps/s",
        partial(relative_to_sketch.steps_per_second, is_analyzed=False),
        "≥ 0.65",
        f"The steps of {relative_to_sketch.FIVE_STEP_TASKS:,} tasks of five steps, each output recorded; the CPU time "
        "of a task.",
        SKETCH,
    ),
    Row(
        "five-step tasks, analyzed",
        "steps/s",
        partial(relative_to_sketch.steps_per_second, is_analyzed=True),
        "≥ 0.65",
        "As the row above, with a history and statistics.",
        SKETCH,
    ),
    Row(
        "one task of 100 steps",
        "ms/step",
        relative_to_sketch.milliseconds_per_step,
        "≤ 1.5",
        "A task alone on idle workers: milliseconds from its start to its end, for each step; the CPU time of a step.",
        SKETCH,
    ),
    Row(
        f"`each` over {relative_to_sketch.PARALLEL_STEPS:,} steps with limit=8",
        "steps/s",
        relative_to_sketch.parallel_steps_per_second,
        "≥ 600/s",
        "One task whose steps run in parallel, eight at a time, on any worker. Compared with as many one-step tasks of "
        "the sketch, since each parallel step is a task of its own; the CPU time of a step.",
        SKETCH,
    ),
    Row(
        "enqueue to first line",
        "ms p50, p95",
        relative_to_sketch.first_line_latency,
        "≤ 2",
        "From the call of enqueue() to the first line of the pipeline's body, on idle workers. The sketch's idle "
        "workers listen themselves, so that its notification takes one hop. The ratio is that of the medians.",
        SKETCH,
    ),
    Row(
        "enqueue()",
        "ms p50, p95",
        relative_to_sketch.enqueue_milliseconds,
        "≤ 1.9",
        "One call in process, which commits and notifies idle workers; there are no workers. The ratio is that of the "
        "medians; the CPU time of a call.",
        SKETCH,
    ),
    Row(
        "bulk enqueue",
        "tasks/s",
        relative_to_sketch.bulk_enqueue,
        "≥ 10,000/s",
        f"enqueue_many() with {relative_to_sketch.BULK:,} calls, relative to a COPY of as many of the sketch's rows; "
        "the CPU time of a task.",
        SKETCH,
    ),
    Row(
        "limits: concurrency=10, 200 keys, throttle",
        "times unlimited (3)",
        limits.speed_under_limits,
        "≥ 0.75",
        "The rate of one-step tasks under each limit, relative to that of a pipeline without a limit.",
    ),
]

PROCESS_ROWS: Final = [
    Row(
        "200 plain tasks of one second: by default; with 50 threads a process",
        "times the least (2)",
        lambda: (many_at_once.plain_tasks(None), many_at_once.plain_tasks(50)),
        "≤ 1.1, 1.3",
        "The time from the first start to the last end, relative to what so many threads need at least: the tasks "
        "divided by the threads, in seconds.",
    ),
    Row(
        "1,000 async tasks of one second, by default",
        "s; times the least",
        many_at_once.async_tasks,
        "≤ 12",
        "The time from the first start to the last end, and relative to what so many slots need at least: the tasks "
        "divided by the slots of two processes, in seconds.",
    ),
    Row(
        f"{many_at_once.AT_ONCE} plain tasks wait in their bodies, then {many_at_once.ASYNC_AT_ONCE} async ones",
        "MB of a process (3), of the command (3), connections (3)",
        many_at_once.memory_and_connections,
        "-",
        "As many as two processes execute at once by default. The memory of a worker process, that of all processes of "
        "the command (of what processes share, each has its part), the command's connections: each idle, "
        "then with the plain tasks, then with the async ones.",
    ),
    Row(
        "kill -9 to running again",
        "s median, longest",
        recovery.one_task_seconds,
        "≤ 0.5",
        "From the kill of a worker process until its task runs again in the other process, which is idle.",
    ),
    Row(
        "kill -9 with busy threads",
        "s median, longest",
        recovery.all_threads_seconds,
        "≤ 2",
        "From the kill of a worker process whose threads are all busy until all its tasks run again. The other process "
        "is busy too, so that they need the process that replaces the killed one.",
    ),
    Row(
        f"{parallel_async.STEPS} parallel async steps: under a rate, without one; claims under the rate",
        "times `each` (2), claims",
        parallel_async.speed_relative_to_each,
        "≥ 1 (2), 1",
        "The speed of gather() in one worker, relative to `each`, which gives the steps to any worker.",
    ),
]

HTTP_ROWS: Final = [
    Row(
        "POST /api/tasks with a token, 20 clients",
        "ms p50, p95",
        http_requests.token_post,
        "≤ 1.6",
        "The ratio is that of the p95.",
        BARE_VIEW,
    ),
    Row(
        "POST /api/tasks without authentication, 20 clients",
        "ms p50, p95",
        http_requests.open_post,
        "-",
        "With DEBUG, in which a local quickstart is open. The ratio is that of the p95.",
        BARE_VIEW,
    ),
    Row(
        "POST /api/tasks with a session, 20 clients",
        "ms p50, p95",
        http_requests.session_post,
        "-",
        "By a signed-in operator. The ratio is that of the p95.",
        BARE_VIEW,
    ),
    Row(
        "POST with a token and one key that is taken, 20 clients",
        "ms p50, p95",
        http_requests.hot_key_milliseconds,
        "-",
        "All clients send the same idempotency key.",
    ),
    Row(
        "GET status with a token",
        "ms p50, p95",
        http_requests.status_read,
        "≤ 3",
        "Of a queued task, by one client. The ratio is that of the medians.",
        BARE_VIEW,
    ),
    Row(
        f"{waiting.WAITERS} callers wait: a task's end to its answer; an ordinary call meanwhile",
        "ms p50, p95; times alone",
        waiting.waiting_milliseconds,
        "≤ 50 (p95), ≤ 1.5",
        "Callers with ?wait= on one ASGI process; the ordinary call is compared with itself without waiting callers.",
    ),
]

HISTORY_ROWS: Final = [
    Row(
        "claims with 1M ended tasks and 100k blocked by keys, a limit, a pause, a throttle",
        "times the empty table (4)",
        claims.claims_with_backlog,
        "≤ 1.5",
        "The time of a claim, relative to one on an empty table.",
    ),
    Row(
        "full queue while history is pruned: by the workers, by `manage.py prune`; rows pruned meanwhile",
        "times without (2), rows/s (2)",
        prune.speed_while_pruning,
        "≥ 0.8 (first)",
        "The rate of one-step tasks, relative to that right before without pruning.",
    ),
    Row(
        "dashboard with 1M tasks",
        "ms slowest page, median",
        dashboard.page_milliseconds,
        "≤ 300 (slowest)",
        "From the request to the last byte of HTML, in process.",
    ),
]

ROWS: Final = [*TASK_ROWS, *PROCESS_ROWS, *HTTP_ROWS, *HISTORY_ROWS]
