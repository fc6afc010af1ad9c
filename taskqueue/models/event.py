"""Events, what listens for them, and the requests that made no task."""

from __future__ import annotations

from typing import Any

from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from taskqueue.ids import uuid7
from taskqueue.models.pipeline import Pipeline
from taskqueue.models.task import Task
from taskqueue.states import SkipKind, WaitOutcome


class Event(models.Model):
    """A named message from outside or from a task. It is routed once: it starts pipelines and resolves waits."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    name = models.CharField(max_length=200, db_collation="C")
    data = models.JSONField(default=dict, blank=True)
    external_id = models.CharField(max_length=200, blank=True, default="", help_text="The sender's own id.")
    unique_id = models.CharField(
        max_length=200, blank=True, default="", help_text="The sender's id, for as long as it makes duplicates."
    )
    source = models.ForeignKey(
        "taskqueue.Task",
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="emitted",
        db_index=False,
        help_text="The task that emitted it.",
    )
    received_at = models.DateTimeField(db_default=Now())
    routed_at = models.DateTimeField(null=True, blank=True, help_text="When it reached those who listened.")
    closed = models.JSONField(
        default=dict,
        db_default={},
        blank=True,
        help_text="The pipelines of which its sender may run (`run`) or cancel (`cancel`) no tasks.",
    )

    duplicate: bool = False
    """Whether `send` found this event by its sender's id instead of writing it; not stored."""

    class Meta:
        constraints = [
            # Of two events with one id the second finds the first.
            models.UniqueConstraint(fields=["unique_id"], name="taskqueue_event_once", condition=~Q(unique_id="")),
        ]
        indexes = [
            # events.listing and waits: what came with this name, newest first
            models.Index(fields=["name", "-id"], name="taskqueue_event_by_name"),
            # waits: which of them fits
            GinIndex(fields=["data"], opclasses=["jsonb_path_ops"], name="taskqueue_event_by_data"),
            # routing: what has not reached anyone yet
            models.Index(fields=["id"], name="taskqueue_event_unrouted", condition=Q(routed_at__isnull=True)),
            models.Index(fields=["source"], name="taskqueue_event_by_source", condition=Q(source__isnull=False)),
        ]

    def __str__(self) -> str:
        """The name and the id."""
        return f"{self.name} {self.id}"


class Trigger(models.Model):
    """That events of a name start a pipeline: definition_digest from the code, so that any process can route."""

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
        """The event's name."""
        return self.event


class Wait(models.Model):
    """That a task waits for an event (or is cancelled by one, when it names no step)."""

    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="waits", db_index=False)
    step_key = models.CharField(max_length=200, blank=True, help_text="Empty: the event cancels the task.")
    position = models.PositiveSmallIntegerField(default=0, help_text="Which of several it is, from 0.")
    event = models.CharField(max_length=200, db_collation="C")
    match: models.JSONField[Any, Any] = models.JSONField(default=dict, blank=True)
    # The paths of the match and a digest of its values: an event computes the same from its data, so that it finds its
    # waits by an index among any number of them.
    fields = models.TextField(blank=True, db_collation="C")
    digest = models.CharField(max_length=32, blank=True)
    until = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now())
    outcome = models.CharField(
        max_length=16, blank=True, default="", choices=[(outcome.value, outcome.value) for outcome in WaitOutcome]
    )
    resolved_at = models.DateTimeField(null=True, blank=True)
    resolved_by = models.ForeignKey(
        Event, on_delete=models.SET_NULL, null=True, blank=True, related_name="resolved", db_index=False
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["task", "step_key", "position"], name="taskqueue_wait_position_once"),
            models.CheckConstraint(
                name="taskqueue_wait_outcome_known", condition=Q(outcome="") | Q(outcome__in=list(WaitOutcome))
            ),
        ]
        indexes = [
            # routing: the open waits that an event resolves
            models.Index(fields=["event", "fields", "digest"], name="taskqueue_wait_open", condition=Q(outcome="")),
            models.Index(
                fields=["resolved_by"], name="taskqueue_wait_by_event", condition=Q(resolved_by__isnull=False)
            ),
        ]

    def __str__(self) -> str:
        """The event's name."""
        return self.event


class Skip(models.Model):
    """A request that made no task, or changed another one instead; with the reason, for those who look for it."""

    pipeline = models.ForeignKey(Pipeline, on_delete=models.CASCADE, related_name="skips", db_index=False)
    kind = models.CharField(max_length=16, choices=[(kind.value, kind.value) for kind in SkipKind])
    reason = models.CharField(max_length=500)
    key = models.CharField(max_length=200, blank=True, default="")
    task = models.ForeignKey(
        Task,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="skips",
        db_index=False,
        help_text="The task that stood in for the one that was asked for.",
    )
    event = models.ForeignKey(
        Event, on_delete=models.CASCADE, null=True, blank=True, related_name="skips", db_index=False
    )
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
            # statements.DEFERRED, LOOK and GIVE_UP_STARTS
            models.Index(
                fields=["pipeline", "id"], name="taskqueue_skip_deferred", condition=Q(kind=SkipKind.DEFERRED)
            ),
        ]

    def __str__(self) -> str:
        """What became of the request."""
        return f"{self.kind}: {self.reason}"
