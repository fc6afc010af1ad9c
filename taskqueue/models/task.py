"""Tasks: one row each, from the call that made it to the end of its history."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.core.checks import CheckMessage
from django.db import models
from django.db.models import Case, ExpressionWrapper, F, Func, Q, Value, When
from django.db.models.functions import Least, Now

from taskqueue.ids import uuid7
from taskqueue.models.pipeline import Pipeline
from taskqueue.models.worker import Worker
from taskqueue.states import ENDED, ON_A_TIMER, TaskStatus

PRIORITY_LIMIT = 600
NOT_ADMITTED = "+"
"""Marks the queue of a pipeline's tasks that have not started yet; no name has it in it."""


def queue_place(due_at: Any, priority: Any) -> ExpressionWrapper[Any]:
    """The `sort_at` that belongs to a due time and a priority."""
    ahead = ExpressionWrapper(priority * Value(timedelta(seconds=1)), models.DurationField())
    return ExpressionWrapper(due_at - ahead, models.DateTimeField())


def spent(on_what: str) -> models.FloatField[float | None, float | None]:
    """Seconds of a task's life, without what its present status adds."""
    return models.FloatField(null=True, blank=True, editable=False, help_text=on_what)


class Concatenated(Func):
    """Texts one after the other by PostgreSQL's operator, which unlike its function is fit for generated columns."""

    template = "(%(expressions)s)"
    arg_joiner = " || "
    output_field = models.CharField()


class Task(models.Model):
    """One run of a pipeline. The engine alone writes here; its statements are in `engine/sql.py`."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    pipeline = models.ForeignKey(Pipeline, on_delete=models.PROTECT, related_name="tasks", db_index=False)
    status = models.CharField(max_length=16, choices=[(status.value, status.value) for status in TaskStatus])
    key = models.CharField(max_length=200, blank=True, default="", help_text="The caller's idempotency key.")
    labels = models.JSONField(default=dict, blank=True)
    subject = models.CharField(
        max_length=200,
        blank=True,
        default="",
        db_default="",
        help_text="The object that it is about: its model and its key.",
    )
    priority = models.SmallIntegerField(default=0, help_text="Seconds by which it goes before tasks of the same age.")

    payload = models.JSONField()
    result = models.JSONField(null=True, blank=True)
    error = models.JSONField(null=True, blank=True, help_text="Why it failed: type, message and step.")

    due_at = models.DateTimeField(
        null=True, blank=True, help_text="When it may start or go on; null while it waits for something without a time."
    )
    sort_at = models.DateTimeField(
        null=True, blank=True, help_text="Its place in the queue: due_at less priority seconds."
    )
    concurrency_key = models.CharField(
        max_length=200,
        blank=True,
        default="",
        db_default="",
        db_collation="C",
        help_text="The value of its limit's key.",
    )
    slot_acquired_at = models.DateTimeField(
        null=True, blank=True, help_text="Since when it holds a place under its pipeline's limits; until it ends."
    )
    shares_slot = models.BooleanField(
        default=False,
        db_default=False,
        help_text="Whether it counts under its parent's place, as a child of the same limit.",
    )
    # The generated columns are null whenever they do not apply, so each has one index that serves it and no other can:
    # the planner cannot be led astray by statistics that are older than the queue.
    ready_queue = models.GeneratedField(
        expression=Case(
            When(status=TaskStatus.QUEUED, slot_acquired_at__isnull=False, then=F("pipeline")),
            When(status=TaskStatus.QUEUED, concurrency_key="", then=Concatenated(F("pipeline"), Value(NOT_ADMITTED))),
        ),
        output_field=models.CharField(max_length=201, null=True, db_collation="C"),
        db_persist=True,
        help_text="The queue that it stands in: its pipeline's name, with a plus before its first start.",
    )
    blocked_queue = models.GeneratedField(
        expression=Case(
            When(~Q(concurrency_key=""), status=TaskStatus.QUEUED, slot_acquired_at__isnull=True, then=F("pipeline"))
        ),
        output_field=models.CharField(max_length=200, null=True, db_collation="C"),
        db_persist=True,
        help_text="The pipeline in whose queue of its group it stands, before its first start.",
    )
    slot_pipeline = models.GeneratedField(
        expression=Case(
            When(slot_acquired_at__isnull=False, finished_at__isnull=True, shares_slot=False, then=F("pipeline"))
        ),
        output_field=models.CharField(max_length=200, null=True, db_collation="C"),
        db_persist=True,
        help_text="The pipeline under whose limits it holds a place.",
    )
    timer_at = models.GeneratedField(
        expression=Case(When(status__in=ON_A_TIMER, then=F("due_at"))),
        output_field=models.DateTimeField(null=True),
        db_persist=True,
        help_text="When it becomes ready by itself; null while nothing of that kind is ahead.",
    )
    # Without a constraint: a worker is pruned before the tasks that are kept for longer, and to find those would be a
    # walk through all of them. Statements keep the row for as long as a task is running under it.
    worker = models.ForeignKey(
        Worker,
        on_delete=models.DO_NOTHING,
        null=True,
        blank=True,
        related_name="tasks",
        db_index=False,
        db_constraint=False,
    )
    lease = models.IntegerField(default=0, help_text="Raised at every claim; older leases write nothing.")
    failures = models.SmallIntegerField(default=0, help_text="Failed tries of the body itself, between its steps.")
    progress = models.FloatField(null=True, blank=True)
    progress_note = models.CharField(max_length=200, blank=True, default="")
    blocked_on = models.CharField(
        max_length=250,
        blank=True,
        default="",
        db_default="",
        help_text="The rate or limit that a waiting task waits for, if any.",
    )
    output_bytes = models.BigIntegerField(
        default=0, db_default=0, help_text="The sum of its steps' outputs, kept while it waits for other tasks."
    )
    step_limit_queue = models.GeneratedField(
        expression=Case(When(~Q(blocked_on=""), status=TaskStatus.WAITING, due_at__isnull=True, then=F("pipeline"))),
        output_field=models.CharField(max_length=200, null=True, db_collation="C"),
        db_persist=True,
        help_text="The pipeline for whose step limit it waits.",
    )

    parent = models.ForeignKey(
        "self", on_delete=models.SET_NULL, null=True, blank=True, related_name="children", db_index=False
    )
    parent_key = models.CharField(
        max_length=200, blank=True, default="", db_default="", help_text="The parent's step that it does."
    )
    parallel_step = models.CharField(
        max_length=200,
        blank=True,
        default="",
        db_default="",
        help_text="The step that it runs beside its siblings, if it is one.",
    )
    parallel_limit = models.PositiveIntegerField(null=True, blank=True, help_text="Of its siblings so many at a time.")
    depth = models.PositiveSmallIntegerField(default=0, db_default=0, help_text="How many parents it has above it.")
    event = models.ForeignKey(
        "taskqueue.Event", on_delete=models.SET_NULL, null=True, blank=True, related_name="started", db_index=False
    )
    cron_at = models.DateTimeField(null=True, blank=True, help_text="The tick of the clock that it is for.")
    debounce_key = models.CharField(
        max_length=201,
        blank=True,
        default="",
        db_default="",
        help_text="Requests with the same one join it until it is due.",
    )
    unique_debounce = models.GeneratedField(
        expression=Case(
            When(
                ~Q(debounce_key=""),
                status=TaskStatus.SCHEDULED,
                then=Concatenated(F("pipeline"), Value(" "), F("debounce_key")),
            )
        ),
        output_field=models.CharField(max_length=402, null=True, db_collation="C"),
        db_persist=True,
    )
    singleton_key = models.CharField(
        max_length=201, blank=True, default="", db_default="", help_text="Only one task with it is under way at a time."
    )
    unique_singleton = models.GeneratedField(
        expression=Case(
            When(
                ~Q(singleton_key=""),
                finished_at__isnull=True,
                then=Concatenated(F("pipeline"), Value(" "), F("singleton_key")),
            )
        ),
        output_field=models.CharField(max_length=402, null=True, db_collation="C"),
        db_persist=True,
    )

    start_by = models.DateTimeField(null=True, blank=True, help_text="Cancelled if it has not started by then.")
    finish_within = models.DurationField(null=True, blank=True, help_text="Cancelled so long after its start.")
    finish_by = models.DateTimeField(null=True, blank=True, help_text="Cancelled if it has not ended by then.")
    deadline_at = models.GeneratedField(
        expression=Case(
            When(finished_at__isnull=True, started_at__isnull=True, then=Least(F("start_by"), F("finish_by"))),
            When(finished_at__isnull=True, then=F("finish_by")),
        ),
        output_field=models.DateTimeField(null=True),
        db_persist=True,
    )
    cancel_grace = models.DurationField(
        null=True, blank=True, help_text="How long after a cancel its worker may go on with the step that it is in."
    )
    cancel_reason = models.CharField(max_length=300, blank=True, default="", db_default="")
    notify_completion = models.BooleanField(
        default=False, db_default=False, help_text="Whether somebody has to be told of its end."
    )
    completion_pending_at = models.GeneratedField(
        expression=Case(When(notify_completion=True, finished_at__isnull=False, then=F("finished_at"))),
        output_field=models.DateTimeField(null=True),
        db_persist=True,
        help_text="Since when its end has to be told; null before and after.",
    )

    version = models.CharField(
        max_length=50, blank=True, default="", db_default="", help_text="Of the body that it runs."
    )
    code_began = models.CharField(
        max_length=32, blank=True, default="", db_default="", help_text="The code that it started on."
    )
    code_ended = models.CharField(
        max_length=32, blank=True, default="", db_default="", help_text="The code that it ended on."
    )
    drift = models.JSONField(null=True, blank=True, help_text="Where its record and the code disagreed.")
    rerun_of = models.ForeignKey(
        "self", on_delete=models.SET_NULL, null=True, blank=True, related_name="reruns", db_index=False
    )

    created_at = models.DateTimeField(db_default=Now())
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    retried_at = models.DateTimeField(null=True, blank=True, help_text="When a person last asked for more tries.")

    # Where its time went. A trigger of the table keeps them, whichever statement changes the status: see
    # docs/adr/0006-rollups.md. Null in tasks of before.
    since = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="Since when it has its status; null before the first change."
    )
    queued_seconds = spent("Ready, and no worker was free.")
    blocked_seconds = spent("Held back by a limit or a rate.")
    waiting_seconds = spent("Asleep, or waiting for an event, children or parallel steps.")
    backoff_seconds = spent("Between a failed attempt and the next one.")
    executing_seconds = spent("In the hands of a worker.")

    duplicate: bool = False
    """Whether `enqueue` found this task, which stands in for the one that was asked for; not stored."""

    class Meta:
        permissions = [
            ("retry_task", "Can retry task"),
            ("cancel_task", "Can cancel task"),
            ("view_task_payload", "Can view payload and result of task"),
        ]
        constraints = [
            models.CheckConstraint(name="taskqueue_task_status_known", condition=Q(status__in=list(TaskStatus))),
            models.CheckConstraint(
                name="taskqueue_task_priority_range",
                condition=Q(priority__gte=-PRIORITY_LIMIT, priority__lte=PRIORITY_LIMIT),
            ),
            models.CheckConstraint(
                name="taskqueue_task_sorted_by_priority",
                condition=Q(sort_at=queue_place(F("due_at"), F("priority"))),
            ),
            models.CheckConstraint(
                name="taskqueue_task_running_has_worker",
                condition=~Q(status=TaskStatus.RUNNING) | Q(worker__isnull=False, started_at__isnull=False),
            ),
            models.CheckConstraint(
                name="taskqueue_task_ended_has_finish",
                condition=Q(status__in=ENDED, finished_at__isnull=False)
                | (~Q(status__in=ENDED) & Q(finished_at__isnull=True)),
            ),
            models.CheckConstraint(
                name="taskqueue_task_failed_has_error",
                condition=~Q(status=TaskStatus.FAILED) | Q(error__isnull=False),
            ),
            models.CheckConstraint(
                name="taskqueue_task_result_of_success",
                condition=Q(result__isnull=True) | Q(status=TaskStatus.SUCCEEDED),
            ),
            models.CheckConstraint(
                name="taskqueue_task_ready_has_place",
                condition=~Q(status__in=[TaskStatus.QUEUED, TaskStatus.SCHEDULED, TaskStatus.RETRYING])
                | Q(due_at__isnull=False, sort_at__isnull=False),
            ),
            # Of two requests for a singleton, or for one debounced or batched task, the second finds the first.
            models.UniqueConstraint(
                fields=["unique_singleton"],
                name="taskqueue_task_singleton_once",
                condition=Q(unique_singleton__isnull=False),
            ),
            models.UniqueConstraint(
                fields=["unique_debounce"],
                name="taskqueue_task_debounce_once",
                condition=Q(unique_debounce__isnull=False),
            ),
            models.UniqueConstraint(
                fields=["pipeline", "cron_at"], name="taskqueue_task_tick_once", condition=Q(cron_at__isnull=False)
            ),
            models.CheckConstraint(name="taskqueue_task_lease_counts_up", condition=Q(lease__gte=0)),
            models.CheckConstraint(
                name="taskqueue_task_progress_share",
                condition=Q(progress__isnull=True) | Q(progress__gte=0, progress__lte=1),
            ),
        ]
        indexes = [
            # statements.CLAIM: the head of each pipeline's queue.
            models.Index(
                "ready_queue", "sort_at", "id", name="taskqueue_task_claim", condition=Q(ready_queue__isnull=False)
            ),
            # the concurrency_limit: the heads of each group's queue
            models.Index(
                "blocked_queue",
                "concurrency_key",
                "sort_at",
                "id",
                name="taskqueue_task_groups",
                condition=Q(blocked_queue__isnull=False),
            ),
            # the concurrency_limit: who holds a place
            models.Index(
                "slot_pipeline",
                "concurrency_key",
                name="taskqueue_task_places",
                condition=Q(slot_pipeline__isnull=False),
            ),
            models.Index(
                "step_limit_queue", "id", name="taskqueue_task_at_step", condition=Q(step_limit_queue__isnull=False)
            ),
            models.Index("deadline_at", name="taskqueue_task_deadline", condition=Q(deadline_at__isnull=False)),
            models.Index(
                "completion_pending_at", name="taskqueue_task_echo", condition=Q(completion_pending_at__isnull=False)
            ),
            models.Index("parent", "id", name="taskqueue_task_by_parent", condition=Q(parent__isnull=False)),
            models.Index("event", name="taskqueue_task_by_event", condition=Q(event__isnull=False)),
            # statements.PROMOTE and NEXT_TIMER: what becomes due next.
            models.Index("timer_at", name="taskqueue_task_timer", condition=Q(timer_at__isnull=False)),
            # statements.RECOVER: what a dead worker held.
            models.Index("worker", name="taskqueue_task_held", condition=Q(status=TaskStatus.RUNNING)),
            # queries.listing: newest first, by status or pipeline.
            models.Index(fields=["status", "-id"], name="taskqueue_task_by_status"),
            models.Index(fields=["pipeline", "-id"], name="taskqueue_task_by_pipeline"),
            # rollups, the tasks that ended in a slice of time, and pruning. Written once a task, at its end, and in
            # order: the new entry goes to the last page.
            models.Index("finished_at", name="taskqueue_task_by_end", condition=Q(finished_at__isnull=False)),
            # the overview: what failed last. Written when a task fails; of no use to the list of failed tasks by id.
            models.Index(fields=["finished_at"], name="taskqueue_task_failed", condition=Q(error__isnull=False)),
            # pruning, and the list of a task's reruns
            models.Index("rerun_of", name="taskqueue_task_reruns", condition=Q(rerun_of__isnull=False)),
            # an object's own page: its tasks, newest first
            models.Index(fields=["subject", "-id"], name="taskqueue_task_by_subject", condition=~Q(subject="")),
            # search by the beginning of a key
            models.Index(
                fields=["key"], opclasses=["varchar_pattern_ops"], name="taskqueue_task_by_key", condition=~Q(key="")
            ),
        ]

    def __str__(self) -> str:
        """The pipeline and the id."""
        return f"{self.pipeline_id} {self.id}"

    @classmethod
    def check(cls, **kwargs: Any) -> list[CheckMessage]:
        """Run Django's checks without asking a database.

        To check a generated column, Django 6.1 connects and asks for the server's version: then a worker that starts
        before its database would fail instead of waiting, and `check` would need a database.
        """
        return super().check(**{**kwargs, "databases": []})

    @property
    def has_ended(self) -> bool:
        """Whether nothing more happens to it by itself."""
        return self.status in ENDED
