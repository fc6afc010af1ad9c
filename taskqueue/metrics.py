"""Metrics for Prometheus: what the database holds at the moment of asking, so that every web process answers alike.

Nothing is counted in a process. What has ended is counted by the rollups into rows that only rise, whatever is pruned.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from taskqueue.engine.queries import counts as task_counts
from taskqueue.engine.queries import stats
from taskqueue.engine.queries import tasks as task_queries
from taskqueue.models import EndCount
from taskqueue.policies.histograms import PER_OCTAVE, lower_bound
from taskqueue.states import ENDED, PHASES

BOUNDS: Final = range(2 * PER_OCTAVE, 25 * PER_OCTAVE, PER_OCTAVE)
"""The bounds that are told of the 120 of a histogram: from 4 ms to 4.7 hours, each twice the one before."""


def exposition() -> bytes:
    """Everything, in the text format of Prometheus.

    Raises:
        django.db.OperationalError: the database does not answer, or takes longer than somebody waits.
    """
    registry = CollectorRegistry()
    registry.register(Readings())
    return generate_latest(registry)


class Readings(Collector):
    """What is read of the database: a fixed number of queries, each by an index or bounded."""

    def describe(self) -> Iterable[Metric]:
        """Nothing: to be registered, it need not ask the database."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Read all, then tell it."""
        with stats.time_limit():
            counted, ready = task_counts.unfinished(), task_counts.readiness()
            counts, behind = stats.end_counts(), stats.behind()
            pills, uses = stats.pills(), task_queries.uses_of_rates()
        names = [each.pipeline for each in ready]
        yield from unfinished(counted, names)
        yield from readiness(ready)
        yield gauge("live_workers", "Worker processes that beat.", pills.live_workers)
        yield gauge("workers_claim_errors", "Live workers whose claims fail.", pills.unable_workers)
        yield from ended(counts, names)
        late = behind.total_seconds() if behind is not None else 0
        yield gauge("rollups_behind_seconds", "How old the counts of ended tasks are; workers raise them.", late)
        yield from rates(uses)


def unfinished(counted: task_counts.Census, names: Sequence[str]) -> Iterator[Metric]:
    """How many tasks have not ended."""
    tasks = labelled(
        "tasks",
        f"Tasks that have not ended. Of each status no more than {task_counts.COUNTED_MOST:,} are counted, the newest.",
        "pipeline",
        "status",
    )
    capped = labelled("tasks_capped", "Whether there may be more tasks of a status than are counted.", "status")
    for status in task_counts.UNFINISHED:
        capped.add_metric([status], status in counted.capped)
        for name in names:
            tasks.add_metric([name, status], counted.numbers[name, status])
    yield tasks
    yield capped


def readiness(ready: Sequence[task_counts.Readiness]) -> Iterator[Metric]:
    """What could run, and what keeps it."""
    claimable = labelled("claimable_tasks", "Queued tasks that only want a worker; up to 1,000 a queue.", "pipeline")
    held = labelled("tasks_blocked", "Tasks that wait for a limit or a rate; up to 1,000 a queue.", "pipeline")
    oldest = labelled("oldest_queued_seconds", "How long the oldest queued task has been due.", "pipeline")
    paused = labelled("pipeline_paused", "Whether somebody has paused the pipeline.", "pipeline")
    for each in ready:
        claimable.add_metric([each.pipeline], each.claimable)
        held.add_metric([each.pipeline], each.held_back)
        oldest.add_metric([each.pipeline], each.oldest.total_seconds() if each.oldest is not None else 0)
        paused.add_metric([each.pipeline], each.is_paused)
    yield from (claimable, held, oldest, paused)


def ended(counts: Iterable[EndCount], names: Sequence[str]) -> Iterator[Metric]:
    """What has ended since counting began. A task that is retried by hand ends once more."""
    tasks = counter("tasks_ended", "Ends of tasks.", "pipeline", "outcome")
    tries = counter("failed_attempts", "Attempts of steps and bodies that failed.", "pipeline")
    spent = counter("task_phase_seconds", "Where the time of tasks went that succeeded or failed.", "pipeline", "phase")
    ran = histogram("task_execution_seconds", "In the hands of workers, of tasks that succeeded or failed.")
    stood = histogram("task_queue_seconds", "Ready and without a worker, of the same tasks.")
    by_pipeline = {name: EndCount(pipeline=name) for name in names} | {each.pipeline: each for each in counts}
    for name, each in by_pipeline.items():
        for outcome in ENDED:
            tasks.add_metric([name, outcome], getattr(each, outcome))
        tries.add_metric([name], each.failed_attempts)
        for phase in PHASES:
            spent.add_metric([name, phase], getattr(each, f"{phase}_seconds"))
        ran.add_metric([name], buckets_of(each.ran), each.executing_seconds)
        stood.add_metric([name], buckets_of(each.waited), each.queued_seconds)
    yield from (tasks, tries, spent, ran, stood)


def buckets_of(counts: Sequence[int]) -> list[tuple[str, int]]:
    """How many lie below each bound, and all of them."""
    below = [(f"{lower_bound(bound).total_seconds():.10g}", sum(counts[:bound])) for bound in BOUNDS]
    return [*below, ("+Inf", sum(counts))]


def rates(uses: Iterable[Any]) -> Iterator[Metric]:
    """What the rates without a key have let through."""
    admitted = counter("rate_admitted", "How many a rate has let through.", "rate")
    held = labelled("rate_blocked", "Whether a rate lets nobody pass, as a step or a person asked.", "rate")
    for use in uses:
        admitted.add_metric([use.rate_id], use.admitted)
        held.add_metric([use.rate_id], use.is_held)
    yield from (admitted, held)


def gauge(name: str, words: str, value: float) -> GaugeMetricFamily:
    """One number."""
    return GaugeMetricFamily(f"taskqueue_{name}", words, value=value)


def counter(name: str, words: str, *labels: str) -> CounterMetricFamily:
    """A count that only rises, for each value of its labels."""
    return CounterMetricFamily(f"taskqueue_{name}", words, labels=labels)


def histogram(name: str, words: str) -> HistogramMetricFamily:
    """Durations of a pipeline's tasks."""
    return HistogramMetricFamily(f"taskqueue_{name}", words, labels=["pipeline"])


def labelled(name: str, words: str, *labels: str) -> GaugeMetricFamily:
    """A number for each value of its labels."""
    return GaugeMetricFamily(f"taskqueue_{name}", words, labels=labels)
