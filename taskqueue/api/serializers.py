"""What answers hold."""

from __future__ import annotations

from datetime import UTC
from enum import StrEnum
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from taskqueue.api.problems import CODES
from taskqueue.engine.queries.reasons import Code
from taskqueue.engine.queries.tasks import code_changed, next_run_of
from taskqueue.states import AttemptOutcome, DriftKind, SkipKind, StepStatus, TaskStatus


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


class FieldError(serializers.Serializer[Any]):
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
    errors = FieldError(  # type: ignore[assignment]  # DRF takes declared fields out of the class again
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


class SubmittedBatch(serializers.Serializer[Any]):
    """The tasks that a batch made or found, in the order in which they were asked for."""

    tasks = SubmittedTask(many=True)


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
    input = serializers.JSONField(help_text="As the payload: masked for callers who may not see it.")
    output = serializers.JSONField(help_text="The same.")
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

    step = serializers.CharField(source="step_key", allow_blank=True, help_text="Its key; empty: the event cancels.")
    event = serializers.CharField(help_text="The event's name.")
    match = serializers.JSONField(help_text="Paths in the event's data, and the values that must be there.")
    until = Time(allow_null=True, help_text="When the wait is over by itself.")
    outcome = serializers.CharField(
        allow_blank=True, help_text="`event`, `timeout`, `closed` (another one came first), or empty while it is open."
    )
    resolved_by = serializers.UUIDField(source="resolved_by_id", allow_null=True, help_text="The event that came.")
    resolved_at = Time(allow_null=True)


class TaskCode(serializers.Serializer[Any]):
    """The code that a task ran on, by fingerprints of its body and steps."""

    version = serializers.CharField(allow_blank=True, help_text="Of the body, as its author counts; empty without.")
    began = serializers.CharField(source="code_began", allow_blank=True, help_text="Empty before its first start.")
    ended = serializers.CharField(source="code_ended", allow_blank=True, help_text="Empty before its end.")
    changed = serializers.SerializerMethodField(help_text="Whether it ended on other code than it began on.")

    def get_changed(self, task: Any) -> bool:
        """Whether it ended on other code than it began on."""
        return code_changed(task)


class DriftRecord(serializers.Serializer[Any]):
    """Where the task's record and the code that it ended on disagreed."""

    key = serializers.CharField(allow_blank=True, help_text="The step's key; empty where it is about the version.")
    kind = serializers.ChoiceField(choices=choices_of(DriftKind))
    recorded = serializers.CharField(
        allow_blank=True, help_text="The recorded arguments as JSON, or the version; up to 2,000 characters."
    )
    now = serializers.CharField(
        allow_blank=True, allow_null=True, help_text="The same by the code; null when the body never asked for it."
    )


class TaskDetail(TaskSummary):
    """Everything about a task."""

    payload = serializers.JSONField(help_text="Secrets, or all of it, as asterisks for callers who may not see it.")
    result = serializers.JSONField(help_text="The same.")
    worker = WorkerRecord(allow_null=True, help_text="The worker that has it, or had it last.")
    steps = StepRecord(many=True, source="recorded_steps", help_text="In the order in which they were first recorded.")
    attempts = AttemptRecord(
        many=True, source="other_attempts", help_text="Failed tries of the body, and of steps that are not recorded."
    )
    waits = WaitRecord(many=True, source="known_waits", help_text="The events for which it waits or waited.")
    event = serializers.UUIDField(source="event_id", allow_null=True, help_text="The event that started it.")
    cancel_reason = serializers.CharField(allow_blank=True, help_text="Why it was cancelled, if somebody said.")
    code = TaskCode(source="*")
    drift = DriftRecord(many=True, allow_null=True, help_text="Null when there was none.")
    skips = SkipRecord(
        many=True, source="latest_skips", help_text="The latest requests for which it stood in, newest first."
    )


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
    waited = serializers.SerializerMethodField(
        help_text="Whether this answer was held back for the task's end, as `wait` asked. False with a task that had "
        "ended already, and when too many wait: then `Retry-After` says when to ask again."
    )

    def get_waited(self, _snapshot: Any) -> bool:
        """As the view says."""
        return bool(self.context.get("waited"))


class Holder(serializers.Serializer[Any]):
    """A task that stands in the way, or that is waited for."""

    id = serializers.UUIDField()
    pipeline = serializers.CharField()
    status = serializers.ChoiceField(choices=choices_of(TaskStatus))
    since = Time(allow_null=True, help_text="Since when it holds its place.")


class AwaitedEvent(serializers.Serializer[Any]):
    """An event that would end a wait."""

    event = serializers.CharField()
    match = serializers.DictField(child=serializers.JSONField(), help_text="Paths in its data and the values there.")


class ReasonRecord(serializers.Serializer[Any]):
    """One reason. Facts that do not belong to its code are null, or empty lists."""

    code = serializers.ChoiceField(choices=choices_of(Code), help_text="What kind of reason it is, for programs.")
    sentence = serializers.CharField(help_text="The reason for people.")
    name = serializers.CharField(allow_null=True, help_text="Of the sleep, wait, rate or pipeline that is concerned.")
    step = serializers.CharField(allow_null=True, help_text="The key of the step that is concerned.")
    attempt = serializers.IntegerField(allow_null=True, help_text="Which try comes next.")
    since = Time(allow_null=True)
    until = Time(allow_null=True, help_text="When it is over by itself.")
    by = serializers.CharField(allow_null=True, help_text="Who paused the pipeline, or the worker that has the task.")
    cause = serializers.CharField(
        allow_null=True, help_text="Why: the words of who paused or held it, or the last error."
    )
    limit = serializers.IntegerField(allow_null=True, help_text="How many there may be at a time.")
    taken = serializers.IntegerField(allow_null=True, help_text="How many there are, counted up to the limit.")
    key = serializers.CharField(allow_null=True, help_text="The value of the limit's key; null for a limit in all.")
    holders = Holder(many=True, help_text="Up to 20 tasks that hold the places, or that it waits for.")
    events = AwaitedEvent(many=True, help_text="One of these has to come.")
    ahead = serializers.IntegerField(allow_null=True, help_text="How many go before it.")
    ahead_is_more = serializers.BooleanField(help_text="Whether there are more than that: it was not counted further.")
    expected_at = Time(allow_null=True, help_text="An estimate of its start, by the starts of the last five minutes.")
    workers = serializers.IntegerField(allow_null=True, help_text="Live workers.")
    workers_busy = serializers.IntegerField(allow_null=True, help_text="Those of them that have a task.")


class ExplanationRecord(serializers.Serializer[Any]):
    """Why a task is not running."""

    id = serializers.UUIDField()
    pipeline = serializers.CharField()
    status = serializers.ChoiceField(choices=choices_of(TaskStatus))
    as_of = Time(help_text="The moment for which this holds.")
    reasons = ReasonRecord(
        many=True,
        help_text="Never empty. Of several things that keep a queued task, the hardest comes first; a waiting one "
        "begins with what it waits for.",
    )
