"""Events, triggers and waits for them, and skipped requests."""

from __future__ import annotations

from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from taskqueue.ids import uuid7
from taskqueue.models.fields import optional_key, text_field, time_field
from taskqueue.models.pipeline import Pipeline
from taskqueue.models.task import Task
from taskqueue.states import SkipKind, WaitOutcome


class Event(models.Model):
    """A named message from outside or from a task. Routing it, once, starts pipelines and resolves waits."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    name = models.CharField(max_length=200, db_collation="C")
    data = models.JSONField(default=dict, blank=True)
    external_id = text_field(200, "The sender's own id.")
    unique_id = text_field(200, "The sender's id while it identifies duplicates; then empty.")
    source = optional_key(Task, "emitted", "The task that emitted it.")
    received_at = models.DateTimeField(db_default=Now())
    routed_at = time_field("When it was routed to triggers and waits.")
    closed = models.JSONField(
        default=dict,
        db_default={},
        blank=True,
        help_text="The pipelines whose tasks the sender may not run (`run`) or cancel (`cancel`).",
    )

    traceparent = models.TextField(
        blank=True, default="", db_default="", help_text="The trace that the tasks it starts continue."
    )

    duplicate: bool = False
    """Whether `send` returned this existing event for its id; not stored."""

    class Meta:
        constraints = [
            # A second event with the same id finds the first one.
            models.UniqueConstraint(fields=["unique_id"], name="taskqueue_event_once", condition=~Q(unique_id="")),
        ]
        indexes = [
            # lists of events, and waits: events with this name, newest first
            models.Index(fields=["name", "-id"], name="taskqueue_event_by_name"),
            # waits: which of them matches
            GinIndex(fields=["data"], opclasses=["jsonb_path_ops"], name="taskqueue_event_by_data"),
            # routing: events that are not routed yet
            models.Index(fields=["id"], name="taskqueue_event_unrouted", condition=Q(routed_at__isnull=True)),
            models.Index(fields=["source"], name="taskqueue_event_by_source", condition=Q(source__isnull=False)),
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.id}"


class Trigger(models.Model):
    """Events of this name start the pipeline. Copied from the code, so that any process can route."""

    pipeline = models.ForeignKey(Pipeline, on_delete=models.CASCADE, related_name="triggers", db_index=False)
    event = models.CharField(max_length=200, db_collation="C")
    match: models.JSONField[Any, Any] = models.JSONField(default=dict, blank=True)
    position = models.PositiveSmallIntegerField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["pipeline", "position"], name="taskqueue_trigger_position_once"),
        ]
        indexes = [models.Index(fields=["event"], name="taskqueue_trigger_by_event")]

    def __str__(self) -> str:
        return self.event


class Wait(models.Model):
    """A wait of a task for an event, or with assignees for an answer; without a step key the event cancels the task."""

    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="waits", db_index=False)
    step_key = models.CharField(max_length=200, blank=True, help_text="Empty: the event cancels the task.")
    position = models.PositiveSmallIntegerField(
        default=0, help_text="Its position among several events of one wait, from 0."
    )
    event = models.CharField(max_length=200, db_collation="C")
    match: models.JSONField[Any, Any] = models.JSONField(default=dict, blank=True)
    # The paths of the match and a digest of its values: routing computes both from the event's data and finds the waits
    # by an index, however many there are.
    fields = models.TextField(blank=True, db_collation="C")
    digest = models.CharField(max_length=32, blank=True)
    until = time_field()
    created_at = models.DateTimeField(db_default=Now())
    outcome = models.CharField(
        max_length=16, blank=True, default="", choices=[(outcome.value, outcome.value) for outcome in WaitOutcome]
    )
    resolved_at = time_field()
    resolved_by = optional_key(Event, "resolved")
    assignees = ArrayField(
        models.TextField(), null=True, blank=True, help_text="Users and `group:NAME` who may answer; null: events only."
    )
    question = models.TextField(blank=True, default="", db_default="")
    answer_schema: models.JSONField[Any, Any] = models.JSONField(
        null=True, blank=True, help_text="So that processes without the pipeline's code can show the form."
    )
    answer_model = models.TextField(
        blank=True, default="", db_default="", help_text="As module:Qualname; empty if it cannot be imported."
    )
    answered_by = models.TextField(blank=True, default="", db_default="")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["task", "step_key", "position"], name="taskqueue_wait_position_once"),
            models.CheckConstraint(
                name="taskqueue_wait_outcome_known", condition=Q(outcome="") | Q(outcome__in=list(WaitOutcome))
            ),
        ]
        indexes = [
            # routing: the open waits for an event
            models.Index(fields=["event", "fields", "digest"], name="taskqueue_wait_open", condition=Q(outcome="")),
            models.Index(
                fields=["resolved_by"], name="taskqueue_wait_by_event", condition=Q(resolved_by__isnull=False)
            ),
            # lists of open questions
            models.Index(
                fields=["-id"], name="taskqueue_wait_question", condition=Q(outcome="", assignees__isnull=False)
            ),
        ]

    def __str__(self) -> str:
        return self.event


class Question(Wait):
    """A wait with assignees: a question that people answer."""

    class Meta:
        proxy = True
        default_permissions = ()

    def __str__(self) -> str:
        return self.question or self.event


class Skip(models.Model):
    """A request that created no task, because it was skipped or changed an existing task; with the reason."""

    pipeline = models.ForeignKey(Pipeline, on_delete=models.CASCADE, related_name="skips", db_index=False)
    kind = models.CharField(max_length=16, choices=[(kind.value, kind.value) for kind in SkipKind])
    reason = models.CharField(max_length=500)
    key = text_field(200)
    task = optional_key(Task, "skips", "The existing task that was returned or changed.", on_delete=models.CASCADE)
    event = optional_key(Event, "skips", on_delete=models.CASCADE)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        verbose_name = "skipped request"
        constraints = [
            models.CheckConstraint(name="taskqueue_skip_kind_known", condition=Q(kind__in=list(SkipKind))),
        ]
        indexes = [
            models.Index(fields=["pipeline", "-id"], name="taskqueue_skip_by_pipeline"),
            models.Index(fields=["task"], name="taskqueue_skip_by_task", condition=Q(task__isnull=False)),
            models.Index(fields=["event"], name="taskqueue_skip_by_event", condition=Q(event__isnull=False)),
            # alerts about missed runs
            models.Index(fields=["created_at"], name="taskqueue_skip_misfire", condition=Q(kind=SkipKind.MISFIRE)),
            # sweeps of deferred starts
            models.Index(
                fields=["pipeline", "id"], name="taskqueue_skip_deferred", condition=Q(kind=SkipKind.DEFERRED)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind}: {self.reason}"
