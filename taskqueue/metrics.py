"""Metrics for Prometheus, read from the database at each scrape, so that every web process has the same numbers.

No process counts anything itself. Counters of ended tasks come from `EndCount` rows, which pruning does not lower.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from taskqueue.engine.queries import pipeline_stats, stats
from taskqueue.engine.queries import tasks as task_queries
from taskqueue.engine.runtime.queue_workers import queue_workers
from taskqueue.models import EndCount
from taskqueue.policies.histograms import PER_OCTAVE, lower_bound
from taskqueue.states import ENDED, PHASES

BOUNDS: Final = range(2 * PER_OCTAVE, 25 * PER_OCTAVE, PER_OCTAVE)
"""The buckets that are exposed, of the 120 of a histogram: from 4 ms to 4.7 hours, each twice the one before."""


def exposition() -> bytes:
    """All metrics in the text format of Prometheus.

    Raises:
        django.db.OperationalError: the database does not answer, or not within the time limit of stats.
    """
    registry = CollectorRegistry()
    registry.register(DatabaseCollector())
    return generate_latest(registry)


class DatabaseCollector(Collector):
    """Reads the metrics with a fixed number of queries, each bounded or served by an index."""

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        with stats.time_limit():
            counted, ready = pipeline_stats.unfinished(), pipeline_stats.readiness()
            takers = queue_workers()
            counts, behind = stats.end_counts(), stats.rollup_lag()
            pills, uses = stats.badge_counts(), task_queries.rate_limit_buckets()
        names = list(dict.fromkeys(each.pipeline for each in ready))
        yield from unfinished(counted, names)
        yield from readiness(ready)
        yield gauge(
            "live_workers",
            "Workers with a current heartbeat, for each thread and event loop one.",
            pills.live_workers,
        )
        yield gauge("busy_workers", "Live workers that execute a task, by their heartbeats.", pills.busy_workers)
        yield gauge("slots", "Tasks that the live workers can execute at once.", pills.slots)
        yield gauge("busy_slots", "Tasks that the live workers execute, by their heartbeats.", pills.executing)
        yield gauge("workers_claim_errors", "Live workers whose claims fail.", pills.failing_workers)
        yield from ended(counts, names)
        age = behind.total_seconds() if behind is not None else 0
        yield gauge("rollups_behind_seconds", "Age of the counts of ended tasks, which workers update.", age)
        yield from rates(uses)
        yield from workers_of_queues(takers)


def unfinished(counted: pipeline_stats.UnfinishedCounts, names: Sequence[str]) -> Iterator[Metric]:
    tasks = labelled(
        "tasks",
        f"Tasks that have not ended; of each status the newest {pipeline_stats.UNFINISHED_LIMIT:,} at most.",
        "pipeline",
        "status",
    )
    capped = labelled("tasks_capped", "Whether a status may have more tasks than are counted.", "status")
    for status in pipeline_stats.UNFINISHED:
        capped.add_metric([status], status in counted.capped)
        for name in names:
            tasks.add_metric([name, status], counted.numbers[name, status])
    yield tasks
    yield capped


def readiness(ready: Sequence[pipeline_stats.Readiness]) -> Iterator[Metric]:
    labels = ("pipeline", "queue")
    claimable = labelled("claimable_tasks", "Queued tasks that can be claimed; up to about 1,000.", *labels)
    blocked = labelled("tasks_blocked", "Tasks that wait for a limit or a rate; up to about 1,000.", *labels)
    oldest = labelled("oldest_queued_seconds", "How long the oldest queued task has been due.", *labels)
    paused = labelled("pipeline_paused", "Whether the pipeline is paused.", "pipeline")
    for each in ready:
        values = [each.pipeline, each.queue]
        claimable.add_metric(values, each.claimable)
        blocked.add_metric(values, each.blocked)
        oldest.add_metric(values, each.oldest.total_seconds() if each.oldest is not None else 0)
    for pipeline, is_paused in {each.pipeline: each.is_paused for each in ready}.items():
        paused.add_metric([pipeline], is_paused)
    yield from (claimable, blocked, oldest, paused)


def workers_of_queues(takers: Mapping[str, int]) -> Iterator[Metric]:
    workers = labelled("queue_workers", "Live workers that take the queue and can claim.", "queue")
    for queue, number in takers.items():
        workers.add_metric([queue], number)
    yield workers


def ended(counts: Iterable[EndCount], names: Sequence[str]) -> Iterator[Metric]:
    """Ended tasks since counting began. A task that a user retries counts again at its next end."""
    tasks = counter("tasks_ended", "Tasks that ended.", "pipeline", "outcome")
    failed = counter("failed_attempts", "Failed attempts of steps and bodies.", "pipeline")
    spent = counter(
        "task_phase_seconds", "Seconds that succeeded and failed tasks spent in each phase.", "pipeline", "phase"
    )
    execution = histogram("task_execution_seconds", "Execution time of tasks that succeeded or failed.")
    queue = histogram("task_queue_seconds", "Queue time of tasks that succeeded or failed.")
    by_pipeline = {name: EndCount(pipeline=name) for name in names} | {each.pipeline: each for each in counts}
    for name, each in by_pipeline.items():
        for outcome in ENDED:
            tasks.add_metric([name, outcome], getattr(each, outcome))
        failed.add_metric([name], each.failed_attempts)
        for phase in PHASES:
            spent.add_metric([name, phase], getattr(each, f"{phase}_seconds"))
        execution.add_metric([name], buckets_of(each.ran), each.executing_seconds)
        queue.add_metric([name], buckets_of(each.waited), each.queued_seconds)
    yield from (tasks, failed, spent, execution, queue)


def buckets_of(counts: Sequence[int]) -> list[tuple[str, int]]:
    """The cumulative count at each bound, and the total."""
    below = [(f"{lower_bound(bound).total_seconds():.10g}", sum(counts[:bound])) for bound in BOUNDS]
    return [*below, ("+Inf", sum(counts))]


def rates(uses: Iterable[Any]) -> Iterator[Metric]:
    admitted = counter("rate_admitted", "Requests that a rate has admitted.", "rate")
    blocked = labelled("rate_blocked", "Whether a step or a user has blocked the rate.", "rate")
    for use in uses:
        admitted.add_metric([use.rate_id], use.admitted)
        blocked.add_metric([use.rate_id], use.is_blocked)
    yield from (admitted, blocked)


def gauge(name: str, help_text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"taskqueue_{name}", help_text, value=value)


def counter(name: str, help_text: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(f"taskqueue_{name}", help_text, labels=labels)


def histogram(name: str, help_text: str) -> HistogramMetricFamily:
    return HistogramMetricFamily(f"taskqueue_{name}", help_text, labels=["pipeline"])


def labelled(name: str, help_text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"taskqueue_{name}", help_text, labels=labels)
