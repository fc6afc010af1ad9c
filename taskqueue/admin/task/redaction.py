"""What a task's page has read, as its viewer may see it: whole, with its secrets masked, or not at all."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from taskqueue import masks
from taskqueue.admin.task.steps import Record
from taskqueue.engine.access import redaction
from taskqueue.engine.access.permissions import Rights, Visibility
from taskqueue.engine.queries import tasks
from taskqueue.masks import MASK
from taskqueue.models import Step, Task


@dataclass(frozen=True)
class Covered:
    """What was covered of a page.

    Attributes:
        is_whole: whether all of the payload is seen.
        secrets: the texts that must not be shown elsewhere on the page either.
    """

    is_whole: bool
    secrets: Sequence[str] = ()


def cover(record: Record, rights: Rights) -> Covered:
    """Change what was read to what may be seen of it."""
    visibility = rights.visibility(record.task.pipeline_id)
    found = cover_task(record, visibility)
    for report in record.reports.values():
        said = masks.hidden(report.logs, found.secrets)
        report.logs = redaction.unsaid(said) if visibility == Visibility.NONE else said
    for step in record.steps:
        if redaction.is_closed(step, rights):
            step.input = step.output = MASK
            write(step, "input", "output")
    if drift := record.task.drift:
        steps = Step.objects.filter(task=record.task, key__in=[note["key"] for note in drift])
        closed = {step.key for step in steps.only("kind", "name", "key") if redaction.is_closed(step, rights)}
        record.task.drift = redaction.without(drift, closed)
    return found


def cover_task(record: Record, visibility: Visibility) -> Covered:
    """The same by what may be seen of the task itself.

    A value of which only the beginning was read cannot be searched for secrets: the whole of a payload and a result is
    read again, and of a step's nothing is shown.
    """
    task: Any = record.task
    if visibility == Visibility.FULL or (
        visibility == Visibility.REDACTED and not redaction.has_marks(task, record.steps)
    ):
        return Covered(is_whole=True)
    task.payload, task.result = (
        values_of(task) if visibility == Visibility.REDACTED else (MASK, task.result_text and MASK)
    )
    is_whole = redaction.is_whole(task, visibility)
    for step in record.steps:
        step.input, step.output, step.logs = text_in(step, "input"), text_in(step, "output"), step.log  # type: ignore[attr-defined]
    for attempt in record.attempts:
        details = record.details.get(attempt.pk, {"traceback": "", "logs": None})
        attempt.error_message, attempt.traceback = attempt.message, details["traceback"]  # type: ignore[attr-defined]
        attempt.logs = details["logs"]
    secrets = redaction.cover_rows(task, record.steps, record.attempts, visibility)
    write(task, "payload", "result")
    for step in record.steps:
        write(step, "input", "output")
        step.log = step.logs  # type: ignore[attr-defined]  # annotated
    for attempt in record.attempts:
        attempt.message = attempt.error_message  # type: ignore[attr-defined]  # annotated
        if attempt.pk in record.details:
            record.details[attempt.pk].update(traceback=attempt.traceback, logs=attempt.logs)
    return Covered(is_whole, secrets)


def values_of(task: Any) -> Any:
    """Payload and result; read again if they are too long for the page."""
    if was_read(task, "payload") and was_read(task, "result"):
        return json.loads(task.payload_text), json.loads(task.result_text or "null")
    return Task.objects.values_list("payload", "result").get(pk=task.pk)


def was_read(row: Any, what: str) -> bool:
    """Whether all of a value was read."""
    text = getattr(row, f"{what}_text")
    return text is None or len(text.encode()) >= getattr(row, f"{what}_size")


def text_in(row: Any, what: str) -> Any:
    """A value that was read as text; a mask in the place of one that was not read to its end."""
    text = getattr(row, f"{what}_text")
    if text is None:
        return None
    return json.loads(text) if was_read(row, what) else MASK


def write(row: Any, *names: str) -> None:
    """Put values back to where the page reads their texts, with their lengths."""
    for name in names:
        if getattr(row, f"{name}_text") is not None:
            text = json.dumps(getattr(row, name), ensure_ascii=False)
            setattr(row, f"{name}_text", text)
            setattr(row, f"{name}_size", len(text.encode()))


def stored(task_id: UUID, what: str, rights: Rights) -> str | None:
    """The JSON text of what is stored under a name, as its viewer may see it; None when there is none.

    Raises:
        TaskNotFound
    """
    task = tasks.find(task_id)
    visibility = rights.visibility(task.pipeline_id)
    column, _, row = what.partition("-")
    steps = tasks.steps_of(task)
    redaction.cover_rows(task, steps, [], visibility)
    redaction.close_children(task, steps, rights)
    if what in {"payload", "result"}:
        found = getattr(task, what)
    else:
        found = next((getattr(step, column) for step in steps if str(step.pk) == row), None)
    return None if found is None else json.dumps(found, ensure_ascii=False)
