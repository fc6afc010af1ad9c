"""Rollups: what the tasks of each minute came to, kept small so that nobody has to count tasks to draw a chart."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

MINUTE = 1
QUARTER = 15
ALL_PIPELINES = ""
"""The pipeline of a row that stands for all of them together; no pipeline has this name."""


def histogram() -> ArrayField[list[int], list[int]]:
    """Counts by `policies.histograms` bucket, without the empty ones at the end."""
    return ArrayField(models.IntegerField(), default=list, blank=True)


class Rollup(models.Model):
    """One span of time of one pipeline. The engine alone writes here (`engine/maintenance/rollups.py`).

    A task is counted where its end lies. Histograms add up, place by place, over pipelines and over time; percentiles
    are read from the sum.
    """

    span = models.PositiveSmallIntegerField(help_text="Its length in minutes.")
    at = models.DateTimeField(help_text="Its beginning.")
    pipeline = models.CharField(max_length=200, blank=True, db_collation="C", help_text="Empty: all of them together.")
    succeeded = models.IntegerField(default=0)
    recovered = models.IntegerField(default=0, help_text="Of those that succeeded, the ones that had failed tries.")
    repaired = models.IntegerField(default=0, db_default=0, help_text="Of those that succeeded, those retried by hand.")
    failed = models.IntegerField(default=0)
    cancelled = models.IntegerField(default=0)
    failed_attempts = models.IntegerField(default=0, help_text="Tries of steps and bodies that did not succeed.")
    ran = histogram()
    waited = histogram()
    queued_seconds = models.FloatField(default=0, db_default=0)
    blocked_seconds = models.FloatField(default=0, db_default=0)
    waiting_seconds = models.FloatField(default=0, db_default=0)
    backoff_seconds = models.FloatField(default=0, db_default=0)
    executing_seconds = models.FloatField(default=0, db_default=0)
    sampled_blocked_seconds = models.IntegerField(
        default=0, help_text="Task seconds spent waiting for limits and rates; sampled."
    )
    queued = models.IntegerField(null=True, blank=True, help_text="How many were ready at once; sampled.")
    oldest_seconds = models.IntegerField(null=True, blank=True, help_text="How long the oldest had waited; sampled.")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["span", "pipeline", "at"], name="taskqueue_rollup_once"),
            models.CheckConstraint(name="taskqueue_rollup_span_known", condition=Q(span__in=[MINUTE, QUARTER])),
        ]
        indexes = [
            # rolling up and pruning: all pipelines of a time
            models.Index(fields=["span", "at"], name="taskqueue_rollup_by_time"),
        ]

    def __str__(self) -> str:
        """The pipeline and the time."""
        return f"{self.pipeline or 'all'} {self.at:%Y-%m-%d %H:%M}"


class Reopened(models.Model):
    """An end that no longer is one, since a person retried the task: what the rollups have to take back.

    Written in the transaction of the retry, gone with the next sweep.
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
        """What ended how."""
        return f"{self.pipeline} {self.status}"


class EndCount(models.Model):
    """Every end of a pipeline's tasks since counting began. It only rises: neither pruning nor a retry lowers it."""

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
        """The pipeline."""
        return self.pipeline


class RollupMark(models.Model):
    """How far the rollups go: one row, and the lock under which they are written."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    final_until = models.DateTimeField(help_text="Nothing before it can change any more.")
    rolled_up_until = models.DateTimeField(help_text="From there on nothing has been counted yet.")
    moved_at = models.DateTimeField(null=True, blank=True, help_text="When somebody counted last.")

    class Meta:
        constraints = [
            models.CheckConstraint(name="taskqueue_rollupmark_alone", condition=Q(id=1)),
            models.CheckConstraint(
                name="taskqueue_rollupmark_in_order", condition=Q(final_until__lte=models.F("rolled_up_until"))
            ),
        ]

    def __str__(self) -> str:
        """Until when everything is counted."""
        return f"{self.rolled_up_until:%Y-%m-%d %H:%M}"
