"""Serializers of tasks, their steps and attempts, and of the reasons why one is not running."""

from __future__ import annotations

from typing import Any, Final

from rest_framework import serializers

from taskqueue.api.serializers import NextRun, Paged, SkipRecord, Time, choices_of
from taskqueue.engine.queries.reasons import Code
from taskqueue.engine.queries.tasks import code_changed
from taskqueue.states import AttemptOutcome, DriftKind, StepStatus, TaskStatus


class StepError(serializers.Serializer[Any]):
    """The error of an attempt."""

    type = serializers.CharField(help_text="The exception's class.")
    message = serializers.CharField(allow_blank=True)


class TaskError(StepError):
    """Why a task failed."""

    step = serializers.CharField(allow_null=True, help_text="The key of the step that failed; null for the body.")


class TaskSummary(serializers.Serializer[Any]):
    """A task without payload, result and steps."""

    id = serializers.UUIDField(help_text="UUIDv7: ids sort by creation time.")
    pipeline = serializers.CharField(source="pipeline_id")
    status = serializers.ChoiceField(choices=choices_of(TaskStatus))
    key = serializers.CharField(allow_blank=True, help_text="The idempotency key, or empty.")
    labels = serializers.DictField(child=serializers.CharField(allow_blank=True))
    priority = serializers.IntegerField()
    callback_url = serializers.CharField(
        allow_blank=True, help_text="The address that is called when it has ended, or empty."
    )
    progress = serializers.FloatField(allow_null=True, help_text="From 0 to 1, as the running step last reported.")
    progress_note = serializers.CharField(allow_blank=True)
    error = TaskError(allow_null=True, help_text="Why the task failed.")
    rerun_of = serializers.UUIDField(
        source="rerun_of_id", allow_null=True, help_text="The task that this one is a rerun of."
    )
    created_at = Time()
    started_at = Time(allow_null=True)
    finished_at = Time(allow_null=True)
    retried_at = Time(allow_null=True, help_text="When a caller last retried it.")
    next_run_at = NextRun(
        allow_null=True,
        read_only=True,
        help_text="When it may start or continue; null while it runs and after it has ended.",
    )


class SubmittedTask(TaskSummary):
    """The new or existing task of a submission."""

    duplicate = serializers.BooleanField(help_text="Whether this is an existing task, returned instead of a new one.")


class SubmittedBatch(serializers.Serializer[Any]):
    """The new or existing tasks of a batch, in the order of the request."""

    tasks = SubmittedTask(many=True)


class ListedTask(TaskSummary):
    """A task in the list."""

    steps_done = serializers.IntegerField()
    steps_known = serializers.IntegerField(
        help_text="How many steps the pipeline's code has; a body can run more or fewer."
    )
    failed_attempts = serializers.IntegerField(source="failed_attempt_count")


class TaskPage(Paged):
    """Tasks, newest first."""

    tasks = ListedTask(many=True, source="rows")


class WorkerRecord(serializers.Serializer[Any]):
    """A worker process."""

    id = serializers.IntegerField()
    host = serializers.CharField()
    pid = serializers.IntegerField()


class LogLine(serializers.Serializer[Any]):
    """A line that an attempt logged; stored as a list of these values."""

    after_ms = serializers.IntegerField(help_text="Milliseconds after the start of the attempt.")
    level = serializers.CharField()
    logger = serializers.CharField()
    text = serializers.CharField(allow_blank=True, help_text="Masked like the payload.")

    def to_representation(self, instance: Any) -> Any:
        return dict(zip(self.fields, instance, strict=True))


class AttemptLog(serializers.Serializer[Any]):
    """The last lines that an attempt logged."""

    dropped = serializers.IntegerField(help_text="How many older lines were not kept.")
    lines = LogLine(many=True)


class AttemptRecord(serializers.Serializer[Any]):
    """A failed attempt."""

    step = serializers.CharField(source="step_key", allow_blank=True, help_text="The step's key; empty for the body.")
    number = serializers.IntegerField(help_text="The number of the attempt, from 1.")
    outcome = serializers.ChoiceField(choices=choices_of(AttemptOutcome))
    error_type = serializers.CharField(allow_blank=True)
    error_message = serializers.CharField(allow_blank=True)
    traceback = serializers.CharField(allow_blank=True)
    logs = AttemptLog(allow_null=True, help_text="What it logged; null for nothing.")
    worker = WorkerRecord(allow_null=True)
    started_at = Time()
    finished_at = Time()


class StepRecord(serializers.Serializer[Any]):
    """A recorded step with its failed attempts."""

    key = serializers.CharField(help_text="The step's name, with #2, #3 … for further calls.")
    name = serializers.CharField()
    status = serializers.ChoiceField(choices=choices_of(StepStatus))
    failures = serializers.IntegerField(help_text="Failed attempts since the last retry by a caller.")
    input = serializers.JSONField(help_text="The arguments; masked like the payload.")
    output = serializers.JSONField(help_text="The result; masked like the payload.")
    error = StepError(allow_null=True)
    logs = AttemptLog(allow_null=True, help_text="What its successful attempt logged; null for nothing.")
    started_at = Time()
    finished_at = Time()
    attempts = AttemptRecord(many=True, source="failed_attempts")


class WaitRecord(serializers.Serializer[Any]):
    """A wait of a task for an event, open or resolved."""

    step = serializers.CharField(
        source="step_key", allow_blank=True, help_text="The step's key; empty for an event that cancels the task."
    )
    event = serializers.CharField(help_text="The event's name.")
    match = serializers.JSONField(help_text="Paths in the event's data and the values that they must have.")
    until = Time(allow_null=True, help_text="When the wait times out.")
    outcome = serializers.CharField(
        allow_blank=True,
        help_text="`event`, `answer`, `timeout`, `closed` (another event came first, or the task ended); empty while "
        "open.",
    )
    resolved_by = serializers.UUIDField(
        source="resolved_by_id", allow_null=True, help_text="The event that resolved the wait."
    )
    resolved_at = Time(allow_null=True)
    question = serializers.CharField(allow_blank=True, help_text="What its assignees are asked.")
    assignees = serializers.ListField(
        child=serializers.CharField(), allow_null=True, help_text="Who may answer; null for events only."
    )
    answered_by = serializers.CharField(allow_blank=True, help_text="The person who answered, or empty.")


class TaskCode(serializers.Serializer[Any]):
    """The code that a task ran on, as fingerprints of body and steps."""

    version = serializers.CharField(
        allow_blank=True, help_text="The version of the pipeline's body that the author set, or empty."
    )
    began = serializers.CharField(
        source="code_began", allow_blank=True, help_text="The code at the start; empty before it."
    )
    ended = serializers.CharField(
        source="code_ended", allow_blank=True, help_text="The code at the end; empty before it."
    )
    changed = serializers.SerializerMethodField(help_text="Whether the code changed between start and end.")

    def get_changed(self, task: Any) -> bool:
        return code_changed(task)


class DriftRecord(serializers.Serializer[Any]):
    """A difference between the task's recorded steps and the code that it ended on."""

    key = serializers.CharField(allow_blank=True, help_text="The step's key; empty if the version differs.")
    kind = serializers.ChoiceField(choices=choices_of(DriftKind))
    recorded = serializers.CharField(
        allow_blank=True, help_text="The recorded arguments as JSON, or the recorded version; at most 2,000 characters."
    )
    now = serializers.CharField(
        allow_blank=True,
        allow_null=True,
        help_text="The arguments or version in the code; null if the body did not call the step.",
    )


class TaskDetail(TaskSummary):
    """Everything about a task."""

    payload = serializers.JSONField(
        help_text="Secrets, or everything, are masked with asterisks for callers without permission."
    )
    result = serializers.JSONField(help_text="Masked like the payload.")
    worker = WorkerRecord(allow_null=True, help_text="The worker that runs it or ran it last.")
    steps = StepRecord(many=True, source="recorded_steps", help_text="In the order in which they were first recorded.")
    attempts = AttemptRecord(
        many=True,
        source="other_attempts",
        help_text="Failed attempts of the body, and of steps that are not in `steps`.",
    )
    waits = WaitRecord(many=True, source="event_waits", help_text="The events that it waits or waited for.")
    event = serializers.UUIDField(source="event_id", allow_null=True, help_text="The event that started it.")
    cancel_reason = serializers.CharField(allow_blank=True, help_text="Why it was cancelled, or empty.")
    code = TaskCode(source="*")
    drift = DriftRecord(many=True, allow_null=True, help_text="Null without drift.")
    skips = SkipRecord(
        many=True,
        source="latest_skips",
        help_text="The latest requests that returned or changed this task instead of creating one, newest first.",
    )


class TaskReference(serializers.Serializer[Any]):
    """A task and its status."""

    id = serializers.UUIDField()
    pipeline = serializers.CharField()
    status = serializers.ChoiceField(choices=choices_of(TaskStatus))


class TaskProgress(TaskReference):
    """The status and progress of a task."""

    current_step = serializers.CharField(allow_null=True, help_text="The key of the step that runs or is retried.")
    steps_done = serializers.IntegerField()
    steps_known = serializers.IntegerField(
        help_text="How many steps the pipeline's code has; a body can run more or fewer."
    )
    progress = serializers.FloatField(allow_null=True, help_text="From 0 to 1, as the running step last reported.")
    progress_note = serializers.CharField(allow_blank=True)
    attempt = serializers.IntegerField(help_text="The number of that step's attempt, from 1.")
    created_at = Time()
    started_at = Time(allow_null=True)
    finished_at = Time(allow_null=True)
    next_run_at = Time(allow_null=True, help_text="When it may start or continue.")
    waiting_for = serializers.CharField(allow_null=True, help_text="What it waits for, in words.")
    error = TaskError(allow_null=True)
    waited = serializers.SerializerMethodField(
        help_text="Whether the service waited for the task's end, as `wait` requested. False if the task had ended "
        "already, or if too many requests wait: then `Retry-After` has the seconds after which to ask again."
    )

    def get_waited(self, _snapshot: Any) -> bool:
        return bool(self.context.get("waited"))


class Holder(TaskReference):
    """A task that blocks this one, or that it waits for."""

    since = Time(allow_null=True, help_text="Since when it has its slot.")


class AwaitedEvent(serializers.Serializer[Any]):
    """An event that would resolve a wait."""

    event = serializers.CharField()
    match = serializers.DictField(
        child=serializers.JSONField(), help_text="Paths in the event's data and the values that they must have."
    )


class ReasonRecord(serializers.Serializer[Any]):
    """One reason. Fields that do not apply to its code are null or empty."""

    code = serializers.ChoiceField(choices=choices_of(Code), help_text="The kind of reason, for programs.")
    sentence = serializers.CharField(help_text="The reason, for people.")
    name = serializers.CharField(allow_null=True, help_text="The name of the sleep, wait, rate or pipeline.")
    step = serializers.CharField(allow_null=True, help_text="The step's key.")
    attempt = serializers.IntegerField(allow_null=True, help_text="The number of the next attempt.")
    since = Time(allow_null=True)
    until = Time(allow_null=True, help_text="When the reason ends by itself.")
    by = serializers.CharField(
        allow_null=True, help_text="The user that paused the pipeline, or the worker that runs the task."
    )
    cause = serializers.CharField(
        allow_null=True, help_text="The reason given for the pause or block, or the last error."
    )
    limit = serializers.IntegerField(allow_null=True, help_text="The limit: how many may run at a time.")
    taken = serializers.IntegerField(allow_null=True, help_text="How many run now, counted up to the limit.")
    key = serializers.CharField(
        allow_null=True, help_text="The value of the limit's key; null for a limit without key."
    )
    holders = Holder(many=True, help_text="Up to 20 tasks that have the slots, or that this one waits for.")
    events = AwaitedEvent(many=True, help_text="The events that it waits for; one is enough.")
    ahead = serializers.IntegerField(allow_null=True, help_text="How many tasks are ahead of it in the queue.")
    ahead_is_more = serializers.BooleanField(help_text="Whether even more are ahead: counting stopped at that number.")
    expected_at = Time(allow_null=True, help_text="Estimated start, from the starts of the last five minutes.")
    workers = serializers.IntegerField(
        allow_null=True, help_text="Live workers; if it is queued, those that take its queue."
    )
    workers_busy = serializers.IntegerField(allow_null=True, help_text="Live workers that run a task.")


class ExplanationRecord(TaskReference):
    """Why a task is not running."""

    as_of = Time(help_text="When the reasons were read.")
    reasons = ReasonRecord(
        many=True,
        help_text="Never empty. For a queued task the reason that takes longest to resolve comes first, for a waiting "
        "task what it waits for.",
    )


class StreamedState(TaskReference):
    """The data of the events `status`, `progress` and `end`."""

    progress = serializers.FloatField(allow_null=True, help_text="From 0 to 1, as the running step last reported.")
    progress_note = serializers.CharField(allow_blank=True)
    current_step = serializers.CharField(allow_null=True, help_text="The key of the step that runs.")
    created_at = Time()
    started_at = Time(allow_null=True)
    finished_at = Time(allow_null=True)
    next_run_at = Time(allow_null=True, help_text="When it may start or continue.")
    error = TaskError(allow_null=True)


class StreamedLine(serializers.Serializer[Any]):
    """The data of the event `log`: a line that a step has logged."""

    step = serializers.CharField(allow_blank=True, help_text="The step's key; empty for the body.")
    line = serializers.IntegerField(help_text="The number of the line in its attempt, from 1.")
    after_ms = serializers.IntegerField(help_text="Milliseconds after the start of the attempt.")
    level = serializers.CharField()
    logger = serializers.CharField()
    text = serializers.CharField(allow_blank=True, help_text="Masked like the payload.")


class StreamedChunk(serializers.Serializer[Any]):
    """The data of the event `chunk`: what a step has written."""

    step = serializers.CharField(help_text="The step's key.")
    attempt = serializers.IntegerField(help_text="The number of the step's attempt, from 1.")
    execution = serializers.IntegerField(
        help_text="Rises when the step begins again, after a failure or a lost worker: what it wrote before is void."
    )
    text = serializers.CharField(
        allow_blank=True, help_text="Masked as a whole for callers who may not see the secrets of the task."
    )
    is_cut = serializers.BooleanField(
        help_text="Whether what follows is missing: the steps have written more than `TASK_CHUNKS_MAX_BYTES`."
    )


EVENT_DATA: Final = {
    **dict.fromkeys(("status", "progress", "end"), StreamedState()),
    "log": StreamedLine(),
    "chunk": StreamedChunk(),
}
"""By the names of the events of a stream. Built once: a new serializer would copy all its fields."""
