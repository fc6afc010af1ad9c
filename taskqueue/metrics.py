"""Metrics for Prometheus: what the database holds at the moment of asking, so that every web process answers alike.

Nothing is counted in a process, and no counter is promised that pruning would turn back: what has ended is told as
gauges over the last hour that is rolled up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from taskqueue.engine import census, figures, queries
from taskqueue.policies.histograms import PER_OCTAVE, lower_bound

KIND: Final = "gaugehistogram"
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
        with figures.time_limit():
            counted, ready = census.unfinished(), census.readiness()
            hours, pills, uses = figures.last_hours(), figures.pills(), queries.uses_of_rates()
        names = [each.pipeline for each in ready]
        yield from unfinished(counted, names)
        yield from readiness(ready)
        yield gauge("live_workers", "Worker processes that beat.", pills.live_workers)
        yield gauge("unable_workers", "Live workers whose claims fail.", pills.unable_workers)
        yield from ended(hours, names)
        yield from rates(uses)


def unfinished(counted: census.Census, names: Sequence[str]) -> Iterator[Metric]:
    """How many tasks have not ended."""
    tasks = labelled(
        "tasks",
        f"Tasks that have not ended. Of each status no more than {census.COUNTED_MOST:,} are counted, the newest.",
        "pipeline",
        "status",
    )
    capped = labelled("tasks_capped", "Whether there may be more tasks of a status than are counted.", "status")
    for status in census.UNFINISHED:
        capped.add_metric([status], status in counted.capped)
        for name in names:
            tasks.add_metric([name, status], counted.numbers[name, status])
    yield tasks
    yield capped


def readiness(ready: Sequence[census.Readiness]) -> Iterator[Metric]:
    """What could run, and what keeps it."""
    claimable = labelled("claimable_tasks", "Queued tasks that only want a worker; up to 1,000 a queue.", "pipeline")
    held = labelled("held_back_tasks", "Tasks that wait for a limit or a rate; up to 1,000 a queue.", "pipeline")
    oldest = labelled("oldest_queued_seconds", "How long the oldest queued task has been due.", "pipeline")
    paused = labelled("pipeline_paused", "Whether somebody has paused the pipeline.", "pipeline")
    for each in ready:
        claimable.add_metric([each.pipeline], each.claimable)
        held.add_metric([each.pipeline], each.held_back)
        oldest.add_metric([each.pipeline], each.oldest.total_seconds() if each.oldest is not None else 0)
        paused.add_metric([each.pipeline], each.is_paused)
    yield from (claimable, held, oldest, paused)


def ended(hours: figures.Hours, names: Sequence[str]) -> Iterator[Metric]:
    """What ended in the last hour that is rolled up."""
    tasks = labelled("last_hour_tasks", "Tasks that ended in the last hour.", "pipeline", "outcome")
    tries = labelled("last_hour_failed_tries", "Tries of steps and bodies that failed in the last hour.", "pipeline")
    ran, waited = (
        Metric("taskqueue_last_hour_run_seconds", "From start to end, of tasks that ended in the last hour.", KIND),
        Metric("taskqueue_last_hour_wait_seconds", "From being made to the start, of the same tasks.", KIND),
    )
    for name in names:
        hour = hours.of(name)
        for outcome in ("succeeded", "failed", "cancelled"):
            tasks.add_metric([name, outcome], getattr(hour, outcome))
        tries.add_metric([name], hour.failed_tries)
        add_histogram(ran, name, hour.ran)
        add_histogram(waited, name, hour.waited)
    yield from (tasks, tries, ran, waited)
    behind = hours.behind.total_seconds() if hours.behind is not None else 0
    yield gauge("rollups_behind_seconds", "How long ago the last hour ended; workers move it on each minute.", behind)


def add_histogram(metric: Metric, pipeline: str, counts: Sequence[int]) -> None:
    """Tell the counts of a pipeline up to each bound; nothing of one in which nothing was counted."""
    total = sum(counts)
    if not total:
        return
    for bound in BOUNDS:
        le = f"{lower_bound(bound).total_seconds():g}"
        metric.add_sample(f"{metric.name}_bucket", {"pipeline": pipeline, "le": le}, sum(counts[:bound]))
    metric.add_sample(f"{metric.name}_bucket", {"pipeline": pipeline, "le": "+Inf"}, total)
    metric.add_sample(f"{metric.name}_gcount", {"pipeline": pipeline}, total)


def rates(uses: Iterable[Any]) -> Iterator[Metric]:
    """What the rates without a key have let through."""
    admitted = CounterMetricFamily("taskqueue_rate_admitted", "How many a rate has let through.", labels=["rate"])
    held = labelled("rate_held", "Whether a rate lets nobody pass, as a step or a person asked.", "rate")
    for use in uses:
        admitted.add_metric([use.rate_id], use.admitted)
        held.add_metric([use.rate_id], use.is_held)
    yield from (admitted, held)


def gauge(name: str, words: str, value: float) -> GaugeMetricFamily:
    """One number."""
    return GaugeMetricFamily(f"taskqueue_{name}", words, value=value)


def labelled(name: str, words: str, *labels: str) -> GaugeMetricFamily:
    """A number for each value of its labels."""
    return GaugeMetricFamily(f"taskqueue_{name}", words, labels=labels)
