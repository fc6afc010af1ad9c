"""Concurrency limits, rates and schedules: what the code declares, what users changed, and current usage."""

from __future__ import annotations

from datetime import timedelta

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from taskqueue import policies
from taskqueue.models.fields import flag_field, limit_field, text_field, time_field
from taskqueue.models.pipeline import Pipeline
from taskqueue.models.task import Task


class ConcurrencyLimit(models.Model):
    """The concurrency limits of a pipeline. Its row is the lock for admission.

    The transaction that has the lock counts the tasks with a slot and admits as many as the limit allows. A number that
    a user has set replaces the declared one from the next admission on.
    """

    pipeline = models.OneToOneField(
        Pipeline, on_delete=models.CASCADE, primary_key=True, related_name="concurrency_limit"
    )
    tasks = limit_field("Tasks that run at a time, from start to end. Empty: the number in the code.")
    tasks_per_key = limit_field("As above, for each value of the key.")
    steps = limit_field("Steps that execute at a time. Empty: the number in the code.")
    steps_per_key = limit_field("As above, for each value of the key.")
    declared_tasks = models.PositiveIntegerField(null=True, blank=True, editable=False)
    declared_tasks_per_key = models.PositiveIntegerField(null=True, blank=True, editable=False)
    declared_steps = models.PositiveIntegerField(null=True, blank=True, editable=False)
    declared_steps_per_key = models.PositiveIntegerField(null=True, blank=True, editable=False)
    key = text_field(200, "The key of the limit, such as {tenant}.", editable=False)
    rate = models.ForeignKey(
        "taskqueue.RateLimit",
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        editable=False,
        related_name="concurrency_limits",
    )
    rate_is_keyed = flag_field(editable=False)
    last_served_key = text_field(
        200, "The key that was admitted last: keys take turns.", db_default="", db_collation="C", editable=False
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
        return self.pipeline_id


class RateLimit(models.Model):
    """A named rate: a number per period, evenly spaced, shared by all its users."""

    name = models.CharField(primary_key=True, max_length=250, db_collation="C")
    key = text_field(200, "The rate is separate for each value of this key.")
    declared_count = models.PositiveIntegerField()
    declared_per = models.DurationField()
    declared_burst = models.PositiveIntegerField(default=1)
    count = limit_field("The count, if it differs from the code.")
    per = models.DurationField(null=True, blank=True, help_text="The period, if it differs from the code.")
    burst = limit_field("The burst, if it differs from the code.")
    changed_at = time_field(editable=False)
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
        return self.name

    @property
    def effective(self) -> policies.Rate:
        """The rate in force: a user's numbers replace the code's."""
        return policies.Rate(
            self.count or self.declared_count,
            per=self.per or self.declared_per,
            burst=self.burst or self.declared_burst,
            key=self.key,
        )


class RateLimitBucket(models.Model):
    """The state of a rate for one value of its key: its theoretical arrival time (GCRA).

    No row means that the rate is unused. A row whose times are long past means the same and is pruned.
    """

    rate = models.ForeignKey(RateLimit, on_delete=models.CASCADE, related_name="uses", db_index=False)
    key = text_field(200, db_collation="C")
    theoretical_arrival_at = models.DateTimeField(
        help_text="GCRA: when the next admission would be due if they came evenly."
    )
    passes_at = time_field("As above, counting only steps that have passed, at the time when they did.")
    admitted = models.BigIntegerField(default=0, db_default=0, help_text="Admissions so far.")
    last_admitted_at = time_field("The time that the last admission was given.")
    blocked_until = time_field("No admission before this time: RetryAfter or a user blocked the rate.")
    block_reason = text_field(300, db_default="")

    class Meta:
        verbose_name = verbose_name_plural = "rate limit usage"
        constraints = [models.UniqueConstraint(fields=["rate", "key"], name="taskqueue_ratelimitbucket_once")]

    def __str__(self) -> str:
        return f"{self.rate_id} {self.key}".strip()


class StepSlot(models.Model):
    """The slot of an executing step, if its pipeline has `step_concurrency`. It counts while the lease is current."""

    pipeline = models.ForeignKey(Pipeline, on_delete=models.CASCADE, related_name="+", db_index=False)
    concurrency_key = text_field(200, db_collation="C")
    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="step_slots", db_index=False)
    lease = models.IntegerField()
    step_key = models.CharField(max_length=200)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["task", "step_key"], name="taskqueue_stepslot_once")]
        indexes = [models.Index(fields=["pipeline", "concurrency_key"], name="taskqueue_stepslot_counted")]

    def __str__(self) -> str:
        return self.step_key


class Schedule(models.Model):
    """The cron schedule of a pipeline. Its row is the lock for enqueueing scheduled runs."""

    pipeline = models.OneToOneField(Pipeline, on_delete=models.CASCADE, primary_key=True, related_name="schedule")
    expression = models.CharField(max_length=200)
    timezone = models.CharField(max_length=64)
    misfire = models.CharField(max_length=8)
    next_at = models.DateTimeField()
    last_at = time_field("The last scheduled run.")

    class Meta:
        indexes = [models.Index(fields=["next_at"], name="taskqueue_schedule_next")]

    def __str__(self) -> str:
        return f"{self.expression} ({self.timezone})"
