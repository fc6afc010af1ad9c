"""Limits and rates: what the code declares, what people changed, and how much is used."""

from __future__ import annotations

from datetime import timedelta

from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from taskqueue import policies
from taskqueue.models.pipeline import Pipeline
from taskqueue.models.task import Task


def most(what: str) -> models.PositiveIntegerField[int | None, int | None]:
    """A column for how many of something there may be at a time."""
    return models.PositiveIntegerField(null=True, blank=True, validators=[MinValueValidator(1)], help_text=what)


class ConcurrencyLimit(models.Model):
    """The limits of a pipeline, and the door through which its tasks start when they are limited: one at a time.

    Its row is the lock: who holds it counts the rows that hold a place, and admits no more than there is room for.
    Where a person wrote a number it holds, from the next claim on; else what the code declares.
    """

    pipeline = models.OneToOneField(
        Pipeline, on_delete=models.CASCADE, primary_key=True, related_name="concurrency_limit"
    )
    tasks = most("Whole tasks at a time, from their start to their end. Empty: what the code says.")
    tasks_per_key = most("The same, for each value of the key.")
    steps = most("Steps that execute at a time. Empty: what the code says.")
    steps_per_key = most("The same, for each value of the key.")
    declared_tasks = models.PositiveIntegerField(null=True, blank=True, editable=False)
    declared_tasks_per_key = models.PositiveIntegerField(null=True, blank=True, editable=False)
    declared_steps = models.PositiveIntegerField(null=True, blank=True, editable=False)
    declared_steps_per_key = models.PositiveIntegerField(null=True, blank=True, editable=False)
    key = models.CharField(
        max_length=200, blank=True, default="", editable=False, help_text="What tasks are grouped by, such as {tenant}."
    )
    rate = models.ForeignKey(
        "taskqueue.RateLimit",
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        editable=False,
        related_name="concurrency_limits",
    )
    rate_is_keyed = models.BooleanField(default=False, db_default=False, editable=False)
    last_served_key = models.CharField(
        max_length=200,
        blank=True,
        default="",
        db_default="",
        db_collation="C",
        editable=False,
        help_text="Whose turn it was last: keys take turns.",
    )

    class Meta:
        verbose_name = "concurrency limit"
        constraints = [
            models.CheckConstraint(
                name="taskqueue_concurrencylimit_at_least_one",
                condition=~Q(tasks=0) & ~Q(tasks_per_key=0) & ~Q(steps=0) & ~Q(steps_per_key=0),
            ),
        ]

    def __str__(self) -> str:
        """The pipeline's name."""
        return self.pipeline_id


class RateLimit(models.Model):
    """A rate by its name: so many in each period, evenly spaced, over all its users."""

    name = models.CharField(primary_key=True, max_length=250, db_collation="C")
    key = models.CharField(max_length=200, blank=True, default="", help_text="Kept for each value of this key.")
    declared_count = models.PositiveIntegerField()
    declared_per = models.DurationField()
    declared_burst = models.PositiveIntegerField(default=1)
    count = models.PositiveIntegerField(
        null=True, blank=True, validators=[MinValueValidator(1)], help_text="How many instead of what the code says."
    )
    per = models.DurationField(null=True, blank=True, help_text="In each period of this length instead.")
    burst = models.PositiveIntegerField(
        null=True, blank=True, validators=[MinValueValidator(1)], help_text="How many may go at once instead."
    )
    changed_at = models.DateTimeField(null=True, blank=True, editable=False)
    updated_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="taskqueue_ratelimit_at_least_one",
                condition=(Q(count__isnull=True) | Q(count__gte=1))
                & (Q(burst__isnull=True) | Q(burst__gte=1))
                & (Q(per__isnull=True) | Q(per__gt=timedelta(0))),
            ),
        ]

    def __str__(self) -> str:
        """The name."""
        return self.name

    @property
    def interval(self) -> timedelta:
        """The time between two that follow each other."""
        return self.effective.interval

    @property
    def tolerance(self) -> timedelta:
        """By how much one may come early when others did not come at all (GCRA's burst tolerance)."""
        return self.effective.tolerance

    @property
    def effective(self) -> policies.Rate:
        """What holds: a person's numbers before the code's."""
        return policies.Rate(
            self.count or self.declared_count,
            per=self.per or self.declared_per,
            burst=self.burst or self.declared_burst,
            key=self.key,
        )


class RateLimitBucket(models.Model):
    """How far a rate is used up, for one value of its key: its theoretical arrival time (GCRA).

    Without a row all of it is left, and so it is with one whose times are long over: such a row is pruned.
    """

    rate = models.ForeignKey(RateLimit, on_delete=models.CASCADE, related_name="uses", db_index=False)
    key = models.CharField(max_length=200, blank=True, default="", db_collation="C")
    theoretical_arrival_at = models.DateTimeField(help_text="When the next one would be due if all came evenly.")
    passes_at = models.DateTimeField(
        null=True, blank=True, help_text="The same, counting only steps that have passed, and when they really did."
    )
    admitted = models.BigIntegerField(default=0, db_default=0, help_text="How many have been let through.")
    last_admitted_at = models.DateTimeField(null=True, blank=True, help_text="The time that the last one was given.")
    blocked_until = models.DateTimeField(null=True, blank=True, help_text="Nobody passes before, as RetryAfter asked.")
    block_reason = models.CharField(max_length=300, blank=True, default="", db_default="")

    class Meta:
        verbose_name = verbose_name_plural = "rate limit usage"
        constraints = [models.UniqueConstraint(fields=["rate", "key"], name="taskqueue_ratelimitbucket_once")]

    def __str__(self) -> str:
        """The rate and the key."""
        return f"{self.rate_id} {self.key}".strip()


class StepSlot(models.Model):
    """That a step of a pipeline with `step_concurrency` executes: a row that counts while its task's lease holds."""

    pipeline = models.ForeignKey(Pipeline, on_delete=models.CASCADE, related_name="+", db_index=False)
    concurrency_key = models.CharField(max_length=200, blank=True, default="", db_collation="C")
    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="step_slots", db_index=False)
    lease = models.IntegerField()
    step_key = models.CharField(max_length=200)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["task", "step_key"], name="taskqueue_stepslot_once")]
        indexes = [models.Index(fields=["pipeline", "concurrency_key"], name="taskqueue_stepslot_counted")]

    def __str__(self) -> str:
        """The step's key."""
        return self.step_key


class Schedule(models.Model):
    """By which clock a pipeline starts: its next tick. The row is the lock under which ticks are taken."""

    pipeline = models.OneToOneField(Pipeline, on_delete=models.CASCADE, primary_key=True, related_name="schedule")
    expression = models.CharField(max_length=200)
    timezone = models.CharField(max_length=64)
    misfire = models.CharField(max_length=8)
    next_at = models.DateTimeField()
    last_at = models.DateTimeField(null=True, blank=True, help_text="The last tick that was taken.")

    class Meta:
        indexes = [models.Index(fields=["next_at"], name="taskqueue_schedule_next")]

    def __str__(self) -> str:
        """The expression."""
        return f"{self.expression} ({self.timezone})"
