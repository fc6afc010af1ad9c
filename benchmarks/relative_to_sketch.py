"""The measures that have the sketch as their floor: rounds of ours and of the sketch in turn, in the same run."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Final

from benchmarks import sketch
from benchmarks.contenders import Contender, database, our_workers, running
from benchmarks.figures import Durations, Figures, Round, compare, compare_durations
from benchmarks.pipelines import idempotent, limited_each, one_step
from benchmarks.process_usage import Cpu
from taskqueue import enqueue_many
from taskqueue.models import Task

ROUNDS: Final = 3
TASKS: Final = 3000
FIVE_STEP_TASKS: Final = 1500
PARALLEL_STEPS: Final = 5000
BULK: Final = 1000


def one_step_tasks_per_second(*, is_analyzed: bool) -> Figures:
    return drain(1, TASKS, is_analyzed=is_analyzed)


def idempotent_tasks_per_second() -> Figures:
    """Tasks of one step of an idempotent pipeline, of which several end in one commit."""
    with running() as (ours, theirs):
        grouped = our_workers(ours.pids[0], {1: idempotent})
        rounds = [
            (grouped.drain(1, TASKS, is_analyzed=True), theirs.drain(1, TASKS, is_analyzed=True)) for _ in range(ROUNDS)
        ]
    return compare(*zip(*rounds, strict=True))


def steps_per_second(*, is_analyzed: bool) -> Figures:
    """Steps of tasks of five steps."""
    return drain(5, FIVE_STEP_TASKS, is_analyzed=is_analyzed)


def drain(steps: int, tasks: int, *, is_analyzed: bool) -> Figures:
    """Steps per second of tasks that are enqueued all at once; the CPU time is that of a task."""

    def drain_one(contender: Contender) -> Round:
        found = contender.drain(steps, tasks, is_analyzed=is_analyzed)
        return Round(found.figure * steps, found.cpu)

    with running() as (ours, theirs):
        rounds = [(drain_one(ours), drain_one(theirs)) for _ in range(ROUNDS)]
    return compare(*zip(*rounds, strict=True))


def parallel_steps_per_second() -> Figures:
    """Steps of one `each` with `limit=8`, as fast as the sketch executes tasks of one step."""

    def run_each(pid: int) -> Round:
        before = Cpu.used_by([pid])
        milliseconds, _result = our_workers(pid, {1: limited_each}).run(1, PARALLEL_STEPS)
        return Round(PARALLEL_STEPS * 1000 / milliseconds, Cpu.used_by([pid]).since(before, units=PARALLEL_STEPS))

    with running() as (ours, theirs):
        rounds = [(run_each(*ours.pids), theirs.drain(1, PARALLEL_STEPS, is_analyzed=True)) for _ in range(ROUNDS)]
    return compare(*zip(*rounds, strict=True))


def milliseconds_per_step() -> Figures:
    """Tasks of a hundred steps, one at a time on idle workers."""

    def run(contender: Contender, number: int) -> Round:
        before = Cpu.used_by(contender.pids)
        milliseconds, _result = contender.run(100, number)
        return Round(milliseconds / 100, Cpu.used_by(contender.pids).since(before, units=100))

    with running() as (ours, theirs):
        rounds = [(run(ours, number), run(theirs, number)) for number in range(3 * ROUNDS)]
    return compare(*zip(*rounds, strict=True))


def first_line_latency() -> Figures:
    """Milliseconds from the call of enqueue() to the first line of author code, on idle workers: p50 and p95."""

    def latency(contender: Contender) -> float:
        called = time.monotonic_ns()
        _milliseconds, first_line = contender.run(0, 0)
        return (first_line - called) / 1e6

    with running() as contenders:
        pairs = [[(latency(ours), latency(theirs)) for _ in range(20)] for ours, theirs in [contenders] * 5]
    rounds = [[Durations(list(column)) for column in zip(*each, strict=True)] for each in pairs]
    return compare_durations(*zip(*rounds, strict=True))


def enqueue_milliseconds() -> Figures:
    """Milliseconds of enqueue() in process, without workers: p50 and p95."""
    with sketch.connect(database()) as client:
        sketch.create_tables(client)
        rounds = [
            (durations(lambda: one_step.enqueue(1)), durations(lambda: sketch.enqueue(client, 1, 1)))
            for _ in range(1 + ROUNDS)
        ]
    Task.objects.filter(status="queued").delete()
    return compare_durations(*zip(*rounds[1:], strict=True))


def durations(action: Callable[[], object]) -> Durations:
    """The milliseconds of 250 calls."""
    before, found = own_cpu(), []
    for _ in range(250):
        started_at = time.perf_counter()
        action()
        found.append((time.perf_counter() - started_at) * 1000)
    return Durations(found, own_cpu().since(before, units=250))


def own_cpu() -> Cpu:
    """What this process and the server have used."""
    return Cpu.used_by([os.getpid()])


def bulk_enqueue() -> Figures:
    """Tasks per second of calls with 1,000 tasks each."""
    calls = [one_step.defer(number) for number in range(BULK)]

    def sketch_all() -> None:
        with client.transaction():
            sketch.enqueue_many(client, 1, range(BULK))

    with sketch.connect(database()) as client:
        sketch.create_tables(client)
        rounds = [(bulk_rate(lambda: enqueue_many(calls)), bulk_rate(sketch_all)) for _ in range(1 + ROUNDS)]
    Task.objects.filter(status="queued").delete()
    return compare(*zip(*rounds[1:], strict=True))


def bulk_rate(action: Callable[[], object]) -> Round:
    """Tasks per second of five calls."""
    before, started_at = own_cpu(), time.perf_counter()
    for _ in range(5):
        action()
    seconds = time.perf_counter() - started_at
    return Round(5 * BULK / seconds, own_cpu().since(before, units=5 * BULK))
