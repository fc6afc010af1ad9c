"""What answers hold."""

from __future__ import annotations

from datetime import UTC
from enum import StrEnum
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from taskqueue.api.problems import CODES
from taskqueue.engine.queries import next_run_of
from taskqueue.states import AttemptOutcome, SkipKind, StepStatus, TaskStatus


def choices_of(words: type[StrEnum]) -> list[tuple[str, str]]:
    """An enum's words as a field's choices, in the form by which the schema recognises and names it."""
    return [(word.value, word.name) for word in words]


class Time(serializers.DateTimeField):
    """A time in UTC as RFC 3339 has it, whatever the project's settings say."""

    def __init__(self, **options: Any) -> None:
        super().__init__(format="iso-8601", default_timezone=UTC, **options)


class Seconds(serializers.FloatField):
    """A length of time in seconds."""

    def to_representation(self, value: Any) -> Any:
        """A number."""
        return value.total_seconds()


class Fault(serializers.Serializer[Any]):
    """One thing that is wrong."""

    pointer = serializers.CharField(
        allow_blank=True,
        help_text="Where: a JSON pointer (RFC 6901) into the request body, or into the query taken as an object.",
    )
    detail = serializers.CharField(help_text="What.")


class Problem(serializers.Serializer[Any]):
    """Why a request was refused (RFC 9457)."""

    type = serializers.CharField(help_text="`urn:taskqueue:problem:` and the code.")
    title = serializers.CharField(help_text="The kind of problem, the same words each time.")
    status = serializers.IntegerField(help_text="The HTTP status.")
    detail = serializers.CharField(help_text="This very problem, for people.")
    code = serializers.ChoiceField(choices=CODES, help_text="The kind of problem, for programs.")
    errors = Fault(  # type: ignore[assignment]  # DRF takes declared fields out of the class again
        many=True, help_text="Each fault of the request by itself, where that can be told."
    )


class StepError(serializers.Serializer[Any]):
    """What a try ended with."""

    type = serializers.CharField(help_text="The exception's class.")
    message = serializers.CharField(allow_blank=True)


class TaskError(StepError):
    """Why a task failed."""

    step = serializers.CharField(allow_null=True, help_text="The key of the step that failed; null for the body.")


class TaskSummary(serializers.Serializer[Any]):
    """A task without what it was given and what it made."""

    id = serializers.UUIDField(help_text="UUIDv7: ids sort by the time at which they were made.")
    pipeline = serializers.CharField(source="pipeline_id")
    status = serializers.ChoiceField(choices=choices_of(TaskStatus))
    key = serializers.CharField(allow_blank=True, help_text="The idempotency key; empty without one.")
    labels = serializers.DictField(child=serializers.CharField(allow_blank=True))
    priority = serializers.IntegerField()
    progress = serializers.FloatField(allow_null=True, help_text="From 0 to 1, as the running step last said.")
    progress_note = serializers.CharField(allow_blank=True)
    error = TaskError(allow_null=True, help_text="Why it failed.")
    rerun_of = serializers.UUIDField(source="rerun_of_id", allow_null=True, help_text="The task whose payload this is.")
    created_at = Time()
    started_at = Time(allow_null=True)
    finished_at = Time(allow_null=True)
    retried_at = Time(allow_null=True, help_text="When it was last retried by request.")
    next_run_at = serializers.SerializerMethodField(
        help_text="When it may start or go on; null while it runs or once it ended."
    )

    @extend_schema_field(Time(allow_null=True))
    def get_next_run_at(self, task: Any) -> str | None:
        """When it may start or go on."""
        due = next_run_of(task)
        return None if due is None else str(Time().to_representation(due))


class SubmittedTask(TaskSummary):
    """The task that a submission made or found."""

    duplicate = serializers.BooleanField(
        help_text="Whether this task was there already and stands in for the one that was asked for."
    )


class ListedTask(TaskSummary):
    """A task in the list."""

    steps_done = serializers.IntegerField()
    steps_known = serializers.IntegerField(help_text="How many steps its pipeline is known to have.")
    failed_attempts = serializers.IntegerField(source="tries")


class Paged(serializers.Serializer[Any]):
    """A page of rows, newest first."""

    next_cursor = serializers.CharField(allow_null=True, help_text="Leads to older ones; null when there are none.")
    previous_cursor = serializers.CharField(
        allow_null=True, help_text="Leads back to newer ones; null at the newest known ones."
    )


class TaskPage(Paged):
    """Tasks, newest first."""

    tasks = ListedTask(many=True, source="rows")


class WorkerRecord(serializers.Serializer[Any]):
    """A worker process."""

    id = serializers.IntegerField()
    host = serializers.CharField()
    pid = serializers.IntegerField()


class AttemptRecord(serializers.Serializer[Any]):
    """A try that did not succeed."""

    step = serializers.CharField(source="step_key", allow_blank=True, help_text="The step's key; empty for the body.")
    number = serializers.IntegerField(help_text="Which try of this step it was, from 1.")
    outcome = serializers.ChoiceField(choices=choices_of(AttemptOutcome))
    error_type = serializers.CharField(allow_blank=True)
    error_message = serializers.CharField(allow_blank=True)
    traceback = serializers.CharField(allow_blank=True)
    worker = WorkerRecord(allow_null=True)
    started_at = Time()
    finished_at = Time()


class StepRecord(serializers.Serializer[Any]):
    """A recorded step with its failed attempts."""

    key = serializers.CharField(help_text="The step's name, with #2, #3 … for further calls.")
    name = serializers.CharField()
    status = serializers.ChoiceField(choices=choices_of(StepStatus))
    failures = serializers.IntegerField(help_text="Failed tries since the last retry by request.")
    input = serializers.JSONField()
    output = serializers.JSONField()
    error = StepError(allow_null=True)
    started_at = Time()
    finished_at = Time()
    attempts = AttemptRecord(many=True, source="failed_attempts")


class SkipRecord(serializers.Serializer[Any]):
    """A request that made no task, or changed another one instead."""

    kind = serializers.ChoiceField(choices=choices_of(SkipKind))
    reason = serializers.CharField(help_text="Why, for people.")
    key = serializers.CharField(allow_blank=True, help_text="The request's idempotency key; empty without one.")
    task = serializers.UUIDField(source="task_id", allow_null=True, help_text="The task that stood in for it.")
    event = serializers.UUIDField(source="event_id", allow_null=True, help_text="The event that asked for it.")
    created_at = Time()


class WaitRecord(serializers.Serializer[Any]):
    """That a task waits, or waited, for an event."""

    step = serializers.CharField(
        source="step_key", allow_blank=True, help_text="The step's key; empty when the event cancels the task."
    )
    event = serializers.CharField(help_text="The event's name.")
    match = serializers.JSONField(help_text="Paths in the event's data, and the values that must be there.")
    until = Time(allow_null=True, help_text="When the wait is over by itself.")
    outcome = serializers.CharField(
        allow_blank=True, help_text="`event`, `timeout`, `closed` (another one came first), or empty while it is open."
    )
    resolved_by = serializers.UUIDField(source="resolved_by_id", allow_null=True, help_text="The event that came.")
    resolved_at = Time(allow_null=True)


class TaskDetail(TaskSummary):
    """Everything about a task."""

    payload = serializers.JSONField()
    result = serializers.JSONField()
    worker = WorkerRecord(allow_null=True, help_text="The worker that has it, or had it last.")
    steps = StepRecord(many=True, source="recorded_steps", help_text="In the order in which they were first recorded.")
    attempts = AttemptRecord(
        many=True, source="other_attempts", help_text="Failed tries of the body, and of steps that are not recorded."
    )
    waits = WaitRecord(many=True, source="known_waits", help_text="The events for which it waits or waited.")
    event = serializers.UUIDField(source="event_id", allow_null=True, help_text="The event that started it.")
    cancel_reason = serializers.CharField(allow_blank=True, help_text="Why it was cancelled, if somebody said.")
    skips = SkipRecord(
        many=True, source="latest_skips", help_text="The latest requests for which it stood in, newest first."
    )


class StartedTask(serializers.Serializer[Any]):
    """A task that an event started."""

    id = serializers.UUIDField()
    pipeline = serializers.CharField(source="pipeline_id")


class ResolvedWait(serializers.Serializer[Any]):
    """A wait that an event ended."""

    task = serializers.UUIDField(source="task_id")
    step = serializers.CharField(source="step_key")


class EventSummary(serializers.Serializer[Any]):
    """An event."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    external_id = serializers.CharField(allow_blank=True, help_text="The sender's own id; empty without one.")
    data = serializers.JSONField()  # type: ignore[assignment]  # DRF takes declared fields out of the class again
    source = serializers.UUIDField(  # type: ignore[assignment]  # the same
        source="source_id", allow_null=True, help_text="The task that sent it."
    )
    received_at = Time()
    routed_at = Time(allow_null=True, help_text="When it reached those who listened; null for a moment.")


class EventDetail(EventSummary):
    """An event and what came of it."""

    tasks = StartedTask(many=True, source="started_tasks", help_text="The tasks that it started.")
    waits = ResolvedWait(many=True, source="ended_waits", help_text="The waits that it ended.")
    cancelled = serializers.ListField(
        child=serializers.UUIDField(), source="cancelled_tasks", help_text="The tasks that it cancelled."
    )
    skips = SkipRecord(many=True, source="skipped", help_text="The pipelines that it did not start, and why.")


class SentEvent(EventDetail):
    """An event that was sent, or found by its sender's id."""

    duplicate = serializers.BooleanField(help_text="Whether its id stands for an event that was sent before.")


class EventPage(Paged):
    """Events, newest first."""

    events = EventSummary(many=True, source="rows")


class TaskProgress(serializers.Serializer[Any]):
    """Where a task stands."""

    id = serializers.UUIDField()
    pipeline = serializers.CharField()
    status = serializers.ChoiceField(choices=choices_of(TaskStatus))
    current_step = serializers.CharField(allow_null=True, help_text="The key of the step that runs or is tried again.")
    steps_done = serializers.IntegerField()
    steps_known = serializers.IntegerField(help_text="How many steps its pipeline is known to have.")
    progress = serializers.FloatField(allow_null=True, help_text="From 0 to 1, as the running step last said.")
    progress_note = serializers.CharField(allow_blank=True)
    attempt = serializers.IntegerField(help_text="Which try of that step it is, from 1.")
    created_at = Time()
    started_at = Time(allow_null=True)
    finished_at = Time(allow_null=True)
    next_run_at = Time(allow_null=True, help_text="When it may start or go on.")
    waiting_for = serializers.CharField(allow_null=True, help_text="What has to happen before it goes on.")
    error = TaskError(allow_null=True)


class KnownStep(serializers.Serializer[Any]):
    """A step that a pipeline is known to call."""

    name = serializers.CharField()
    atomic = serializers.BooleanField(help_text="Its database writes and its checkpoint commit together.")
    timeout = Seconds(allow_null=True, help_text="Seconds that one try may take.")
    retry_waits = serializers.ListField(
        child=serializers.FloatField(), source="retry", help_text="Seconds between tries, before jitter of 10 %."
    )


class Pausing(serializers.Serializer[Any]):
    """That a pipeline is paused: none of its tasks starts or goes on."""

    at = Time(source="paused_at")
    by = serializers.CharField(source="paused_by", allow_blank=True)
    reason = serializers.CharField(source="pause_reason")


class PipelineRecord(serializers.Serializer[Any]):
    """A pipeline."""

    name = serializers.CharField()
    description = serializers.CharField(allow_blank=True)
    payload_schema = serializers.JSONField(help_text="JSON schema of the payload.")
    payload_example = serializers.JSONField()
    result_schema = serializers.JSONField(help_text="JSON schema of the result.")
    retry_waits = serializers.ListField(
        child=serializers.FloatField(), source="retry", help_text="Seconds between tries of the body itself."
    )
    steps = KnownStep(many=True, source="known_steps", help_text="In the order in which the body names them.")
    policies = serializers.JSONField(help_text="What else the code says: limits, rates, starts. Times in seconds.")
    paused = serializers.SerializerMethodField(help_text="Since when, by whom and why it is paused; null if it is not.")
    registered_at = Time()
    updated_at = Time()

    @extend_schema_field(Pausing(allow_null=True))
    def get_paused(self, pipeline: Any) -> Any:
        """Whether it is paused."""
        return None if pipeline.paused_at is None else Pausing(pipeline).data


class ScheduleRecord(serializers.Serializer[Any]):
    """When the clock starts a pipeline."""

    expression = serializers.CharField(help_text="Minute, hour, day of the month, month, day of the week.")
    timezone = serializers.CharField(help_text="The IANA name of the zone in which the expression is read.")
    misfire = serializers.CharField(help_text="What becomes of missed ticks: `skip`, `once` or `all`.")
    next_at = Time(help_text="The next tick.")
    last_at = Time(allow_null=True, help_text="The last tick that was taken.")


class PipelineDetail(PipelineRecord):
    """A pipeline, when it starts, and what did not start."""

    schedule = serializers.SerializerMethodField(help_text="When the clock starts it; null if it does not.")
    skips = SkipRecord(
        many=True, source="latest_skips", help_text="The latest requests that made no task, newest first."
    )

    @extend_schema_field(ScheduleRecord(allow_null=True))
    def get_schedule(self, pipeline: Any) -> Any:
        """Its clock."""
        schedule = getattr(pipeline, "schedule", None)
        return None if schedule is None else ScheduleRecord(schedule).data


class PipelineList(serializers.Serializer[Any]):
    """Every pipeline, by name."""

    pipelines = PipelineRecord(many=True)


class Alive(serializers.Serializer[Any]):
    """The web process is up."""

    status = serializers.CharField(help_text="`ok`.")


class Ready(serializers.Serializer[Any]):
    """The service can take tasks."""

    status = serializers.CharField(help_text="`ready`.")
    workers = serializers.IntegerField(help_text="Live worker processes.")
