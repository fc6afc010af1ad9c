"""Rollups: counts and histograms of ended tasks per minute and quarter of an hour, for charts."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from taskqueue.models.fields import time_field

MINUTE = 1
QUARTER = 15
ALL_PIPELINES = ""
"""The pipeline of rows for all pipelines together; no pipeline has this name."""


def histogram() -> ArrayField[list[int], list[int]]:
    """Counts by bucket of `policies.histograms`, without empty buckets at the end."""
    return ArrayField(models.IntegerField(), default=list, blank=True)


class Rollup(models.Model):
    """The ended tasks of one pipeline in one span of time, by their end.

    Only `engine/maintenance/rollups.py` writes it. Histograms are added bucket by bucket over pipelines and spans;
    percentiles are read from the sum.
    """

    span = models.PositiveSmallIntegerField(help_text="Length in minutes.")
    at = models.DateTimeField(help_text="Start of the span.")
    pipeline = models.CharField(
        max_length=200, blank=True, db_collation="C", help_text="Empty: all pipelines together."
    )
    succeeded = models.IntegerField(default=0)
    recovered = models.IntegerField(default=0, help_text="Succeeded tasks that had failed attempts.")
    repaired = models.IntegerField(default=0, db_default=0, help_text="Succeeded tasks that a user had retried.")
    failed = models.IntegerField(default=0)
    cancelled = models.IntegerField(default=0)
    failed_attempts = models.IntegerField(default=0, help_text="Failed attempts of steps and bodies.")
    ran = histogram()
    waited = histogram()
    queued_seconds = models.FloatField(default=0, db_default=0)
    blocked_seconds = models.FloatField(default=0, db_default=0)
    waiting_seconds = models.FloatField(default=0, db_default=0)
    backoff_seconds = models.FloatField(default=0, db_default=0)
    executing_seconds = models.FloatField(default=0, db_default=0)
    sampled_blocked_seconds = models.IntegerField(
        default=0, help_text="Seconds that tasks were blocked by limits and rates; sampled."
    )
    queued = models.IntegerField(null=True, blank=True, help_text="Queue depth; sampled.")
    oldest_seconds = models.IntegerField(null=True, blank=True, help_text="Age of the oldest queued task; sampled.")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["span", "pipeline", "at"], name="taskqueue_rollup_once"),
            models.CheckConstraint(name="taskqueue_rollup_span_known", condition=Q(span__in=[MINUTE, QUARTER])),
        ]
        indexes = [
            # rolling up and pruning: all pipelines of a span
            models.Index(fields=["span", "at"], name="taskqueue_rollup_by_time"),
        ]

    def __str__(self) -> str:
        return f"{self.pipeline or 'all'} {self.at:%Y-%m-%d %H:%M}"


class Reopened(models.Model):
    """An end to subtract from the rollups, because a user retried the task.

    Written in the transaction of the retry, deleted by the next rollup.
    """

    finished_at = models.DateTimeField()
    pipeline = models.CharField(max_length=200, db_collation="C")
    status = models.CharField(max_length=16)
    tried = models.BooleanField()
    repaired = models.BooleanField()
    ran = models.SmallIntegerField(null=True)
    waited = models.SmallIntegerField(null=True)
    queued_seconds = models.FloatField()
    blocked_seconds = models.FloatField()
    waiting_seconds = models.FloatField()
    backoff_seconds = models.FloatField()
    executing_seconds = models.FloatField()

    class Meta:
        indexes = [models.Index(fields=["finished_at"], name="taskqueue_reopened_by_end")]

    def __str__(self) -> str:
        return f"{self.pipeline} {self.status}"


class EndCount(models.Model):
    """All ends of a pipeline's tasks since counting began. Neither pruning nor a retry lowers it."""

    pipeline = models.CharField(max_length=200, primary_key=True, db_collation="C")
    succeeded = models.BigIntegerField(default=0)
    failed = models.BigIntegerField(default=0)
    cancelled = models.BigIntegerField(default=0)
    failed_attempts = models.BigIntegerField(default=0)
    ran = ArrayField(models.BigIntegerField(), default=list, blank=True)
    waited = ArrayField(models.BigIntegerField(), default=list, blank=True)
    queued_seconds = models.FloatField(default=0)
    blocked_seconds = models.FloatField(default=0)
    waiting_seconds = models.FloatField(default=0)
    backoff_seconds = models.FloatField(default=0)
    executing_seconds = models.FloatField(default=0)

    def __str__(self) -> str:
        return self.pipeline


class RollupMark(models.Model):
    """The watermarks of the rollups: one row, which is also the lock for writing them."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    final_until = models.DateTimeField(help_text="Rollups before this time are final.")
    rolled_up_until = models.DateTimeField(help_text="Tasks that ended after this time are not counted yet.")
    moved_at = time_field("When the rollups were last updated.")

    class Meta:
        constraints = [
            models.CheckConstraint(name="taskqueue_rollupmark_alone", condition=Q(id=1)),
            models.CheckConstraint(
                name="taskqueue_rollupmark_in_order", condition=Q(final_until__lte=models.F("rolled_up_until"))
            ),
        ]

    def __str__(self) -> str:
        return f"{self.rolled_up_until:%Y-%m-%d %H:%M}"
