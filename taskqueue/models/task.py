"""Tasks: one row for each run of a pipeline, from enqueue to pruning; with its idempotency keys and end watches."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import ExpressionWrapper, Q, Value
from django.db.models.functions import Now

from taskqueue.ids import uuid7
from taskqueue.models.fields import derived_name, derived_time, flag_field, optional_key, text_field, time_field
from taskqueue.models.pipeline import Pipeline
from taskqueue.models.worker import Worker
from taskqueue.queues import QUEUE_NAME_MAX
from taskqueue.states import ENDED, TaskStatus

PRIORITY_LIMIT = 600
NOT_STARTED = "+"
"""In `ready_queue`, for tasks that have not started yet; no pipeline's name contains a plus."""
STEP_QUEUE = "@"
"""Begins the `ready_queue` of tasks that wait in the queue of a step; no pipeline's name contains an at sign."""

DERIVED = (
    "ready_queue",
    "blocked_queue",
    "slot_pipeline",
    "step_limit_queue",
    "timer_at",
    "unique_debounce",
    "unique_singleton",
    "deadline_at",
    "completion_pending_at",
)
"""The columns that the trigger computes."""


def queue_position(due_at: Any, priority: Any) -> ExpressionWrapper[Any]:
    """The `sort_at` of a due time and a priority."""
    ahead = ExpressionWrapper(priority * Value(timedelta(seconds=1)), models.DurationField())
    return ExpressionWrapper(due_at - ahead, models.DateTimeField())


def phase_seconds(help_text: str) -> models.FloatField[float | None, float | None]:
    """Seconds in one phase of a task, up to its last change of status."""
    return models.FloatField(null=True, blank=True, editable=False, help_text=help_text)


class Task(models.Model):
    """One run of a pipeline. Only the statements in `engine/sql/` write it.

    A trigger checks each row, and computes some of its columns: see `migrations/0001_initial.py`.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    pipeline = models.ForeignKey(Pipeline, on_delete=models.PROTECT, related_name="tasks", db_index=False)
    status = models.CharField(max_length=16, choices=[(status.value, status.value) for status in TaskStatus])
    key = text_field(200, "The caller's idempotency key.")
    labels = models.JSONField(default=dict, blank=True)
    subject = text_field(200, "The object that the task is about: model and primary key.", db_default="")
    priority = models.SmallIntegerField(default=0, help_text="Seconds by which it goes ahead of tasks of its age.")

    payload = models.JSONField()
    result = models.JSONField(null=True, blank=True)
    error = models.JSONField(null=True, blank=True, help_text="Why it failed: type, message and step.")

    due_at = time_field("When it may start or continue; null while it waits without a time.")
    sort_at = time_field("Queue position: due_at minus priority seconds.")
    concurrency_key = text_field(200, "The value of the concurrency limit's key.", db_default="", db_collation="C")
    slot_acquired_at = time_field("Since when it has a slot of its pipeline's concurrency limit, until it ends.")
    shares_slot = flag_field("Whether it uses its parent's slot, as a child under the same limit.")
    step_queue = text_field(
        QUEUE_NAME_MAX, "The queue of the step that it has come to; empty for its pipeline's.", db_default="",
        db_collation="C",
    )  # fmt: skip
    # Each derived column is null when it does not apply, and has one partial index. Only that index can serve it: the
    # planner cannot choose another one because of outdated statistics. The trigger computes them at each write
    # (docs/adr/0002-ready-and-timer-columns.md).
    ready_queue = derived_name(
        "The queue that workers claim from: the pipeline's name, with a plus before the task's first start, "
        "or after the queue of a step."
    )
    blocked_queue = derived_name("The pipeline, while the concurrency limit blocks the task before its first start.")
    slot_pipeline = derived_name("The pipeline, while the task has a slot of its concurrency limit.")
    timer_at = derived_time("When it becomes queued by itself; null in other statuses.")
    # No constraint: workers are pruned before tasks that are kept longer, and checking it would scan all tasks. Pruning
    # never deletes the worker of a running task.
    worker = optional_key(Worker, "tasks", on_delete=models.DO_NOTHING, db_constraint=False)
    lease = models.IntegerField(
        default=0, help_text="Raised at every claim; a worker with an older lease cannot write."
    )
    failures = models.SmallIntegerField(
        default=0, help_text="Failed attempts of the body itself, outside of its steps."
    )
    progress = models.FloatField(null=True, blank=True)
    progress_note = text_field(200)
    blocked_on = text_field(250, "The rate or step limit that blocks a waiting task.", db_default="")
    output_bytes = models.BigIntegerField(
        default=0, db_default=0, help_text="Total size of its steps' outputs, stored while it waits for other tasks."
    )
    step_limit_queue = derived_name("The pipeline whose step limit blocks it.")

    parent = models.ForeignKey(
        "self", on_delete=models.SET_NULL, null=True, blank=True, related_name="children", db_index=False
    )
    parent_key = text_field(200, "The key of the parent's step.", db_default="")
    parallel_step = text_field(200, "The step that it runs, if it is a parallel step.", db_default="")
    parallel_limit = models.IntegerField(null=True, blank=True, help_text="How many of its siblings may run at a time.")
    depth = models.SmallIntegerField(default=0, db_default=0, help_text="Number of ancestors.")
    event = models.ForeignKey(
        "taskqueue.Event", on_delete=models.SET_NULL, null=True, blank=True, related_name="started", db_index=False
    )
    cron_at = time_field("The scheduled time, if cron started it.")
    debounce_key = text_field(201, "Requests with this key change the task until it is due.", db_default="")
    unique_debounce = derived_name("The pipeline and the debounce key, until the task is due.")
    singleton_key = text_field(201, "Only one task with this key is unfinished at a time.", db_default="")
    unique_singleton = derived_name("The pipeline and the singleton key, until the task ends.")

    start_by = time_field("Cancelled if it has not started by then.")
    finish_within = models.DurationField(null=True, blank=True, help_text="Cancelled this long after its start.")
    finish_by = time_field("Cancelled if it has not ended by then.")
    deadline_at = derived_time("When it is cancelled: while it has not started, or not ended.")
    cancel_grace = models.DurationField(
        null=True, blank=True, help_text="How long after a cancel its worker may finish the current step."
    )
    cancel_reason = text_field(300, db_default="")
    notify_completion = flag_field("Whether its completion has to be notified: to a parent, handlers or an event.")
    callback_url = models.TextField(
        blank=True, default="", db_default="", help_text="An address that is called when it has ended."
    )
    traceparent = models.TextField(
        blank=True, default="", db_default="", help_text="The trace that it continues, as a W3C traceparent."
    )
    completion_pending_at = derived_time(
        "Since when its completion is pending; null before the end and after the notification."
    )

    version = text_field(50, "The version of the body that it runs.", db_default="")
    code_began = text_field(32, "Fingerprint of the code at its start.", db_default="")
    code_ended = text_field(32, "Fingerprint of the code at its end.", db_default="")
    drift = models.JSONField(null=True, blank=True, help_text="Differences between its recorded steps and the code.")
    rerun_of = models.ForeignKey(
        "self", on_delete=models.SET_NULL, null=True, blank=True, related_name="reruns", db_index=False
    )

    created_at = models.DateTimeField(db_default=Now())
    started_at = time_field()
    finished_at = time_field()
    retried_at = time_field("When a user last retried it.")
    bulk_operations = ArrayField(
        models.UUIDField(), null=True, blank=True, help_text="The bulk operations that changed or created it."
    )

    # Seconds in each phase, added up by the trigger at every change of the status (docs/adr/0006-rollups.md).
    since = time_field("Since when it has its status; null before the first change.", editable=False)
    queued_seconds = phase_seconds("Queued, while no worker was free.")
    blocked_seconds = phase_seconds("Blocked by a limit or a rate.")
    waiting_seconds = phase_seconds("Sleeping, or waiting for an event, child tasks or parallel steps.")
    backoff_seconds = phase_seconds("Between a failed attempt and the next one.")
    executing_seconds = phase_seconds("Executed by a worker.")

    duplicate: bool = False
    """Whether `enqueue` returned this existing task instead of a new one; not stored."""

    class Meta:
        permissions = [
            ("retry_task", "Can retry task"),
            ("cancel_task", "Can cancel task"),
            ("view_task_payload", "Can view payload and result of task"),
        ]
        constraints = [
            # A second request for a singleton, debounced or batched task finds the first one's task.
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
        ]
        indexes = [
            # claim: the head of each pipeline's ready queue
            models.Index(
                "ready_queue", "sort_at", "id", name="taskqueue_task_claim", condition=Q(ready_queue__isnull=False)
            ),
            # admission: the head of each key's blocked queue
            models.Index(
                "blocked_queue",
                "concurrency_key",
                "sort_at",
                "id",
                name="taskqueue_task_groups",
                condition=Q(blocked_queue__isnull=False),
            ),
            # admission: the tasks that have a slot
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
                "completion_pending_at",
                name="taskqueue_task_completion",
                condition=Q(completion_pending_at__isnull=False),
            ),
            models.Index("parent", "id", name="taskqueue_task_by_parent", condition=Q(parent__isnull=False)),
            models.Index("event", name="taskqueue_task_by_event", condition=Q(event__isnull=False)),
            # timers: what becomes due next
            models.Index("timer_at", name="taskqueue_task_timer", condition=Q(timer_at__isnull=False)),
            # recovery: the tasks of a dead worker. Every running task has started; statements that do not say so find
            # their task by its id instead of among all that their worker has had since the last vacuum
            models.Index(
                "worker",
                name="taskqueue_task_held",
                condition=Q(status=TaskStatus.RUNNING, started_at__isnull=False),
            ),
            # lists: newest first, by status or pipeline
            models.Index(fields=["status", "-id"], name="taskqueue_task_by_status"),
            models.Index(fields=["pipeline", "-id"], name="taskqueue_task_by_pipeline"),
            # rollups and pruning: tasks by end time. Cheap: one entry per task, in order, on the last page
            models.Index("finished_at", name="taskqueue_task_by_end", condition=Q(finished_at__isnull=False)),
            # the overview: the latest failures; the list of failed tasks, which sorts by id, does not use it
            models.Index(fields=["finished_at"], name="taskqueue_task_failed", condition=Q(error__isnull=False)),
            # pruning, and the list of a task's reruns
            models.Index("rerun_of", name="taskqueue_task_reruns", condition=Q(rerun_of__isnull=False)),
            # object pages: an object's tasks, newest first
            models.Index(fields=["subject", "-id"], name="taskqueue_task_by_subject", condition=~Q(subject="")),
            # search by a prefix of the key
            models.Index(
                fields=["key"], opclasses=["varchar_pattern_ops"], name="taskqueue_task_by_key", condition=~Q(key="")
            ),
        ]

    def __str__(self) -> str:
        return f"{self.pipeline_id} {self.id}"

    @property
    def has_ended(self) -> bool:
        return self.status in ENDED

    @property
    def effective_queue(self) -> str:
        """The queue that it is claimed from: of the step that it has come to, else of its pipeline."""
        return self.step_queue or self.pipeline.effective_queue

    @property
    def started_queue(self) -> str:
        """Its `ready_queue` when it is queued after its start."""
        return f"{STEP_QUEUE}{self.step_queue}/{self.pipeline_id}" if self.step_queue else self.pipeline_id


class Overview(Task):
    """Stands for the overview page; it has no rows of its own."""

    class Meta:
        proxy = True
        default_permissions = ()
        verbose_name = verbose_name_plural = "overview"


class IdempotencyKey(models.Model):
    """A key and its task. The unique constraint prevents a second task within the key's window."""

    pipeline = models.ForeignKey(Pipeline, on_delete=models.CASCADE, related_name="+", db_index=False)
    key = models.CharField(max_length=200)
    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="idempotency_keys")
    expires_at = models.DateTimeField()
    payload_digest = text_field(32, "Digest of the payload that the key was used with.", db_default="")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["pipeline", "key"], name="taskqueue_idempotencykey_once"),
        ]
        # pruning: expired keys
        indexes = [models.Index(fields=["expires_at"], name="taskqueue_key_expiry")]

    def __str__(self) -> str:
        return self.key


class EndWatch(models.Model):
    """A task whose end a trigger on the task table announces with NOTIFY. A hint that may be lost."""

    # No constraint: it would lock the task's row, which a step's transaction may hold for long.
    task = models.OneToOneField(
        Task, primary_key=True, on_delete=models.DO_NOTHING, db_constraint=False, related_name="+"
    )
    until = models.DateTimeField(help_text="The latest time that any process waits for.")

    def __str__(self) -> str:
        return str(self.task_id)
