"""Redact what a task's page has read, before the page is built: in full, with masked secrets, or without values."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from taskqueue import masks
from taskqueue.admin.task.steps import Record
from taskqueue.engine.access import redaction
from taskqueue.engine.access.permissions import CallerPermissions, Visibility
from taskqueue.masks import MASK
from taskqueue.models import Step, Task


@dataclass(frozen=True)
class Redaction:
    """Whether the user sees the whole payload, and texts that must not appear elsewhere on the page."""

    is_whole: bool
    secrets: Sequence[str] = ()


def redact(record: Record, rights: CallerPermissions) -> Redaction:
    """Redact the rows of a page in place. They must not be saved."""
    visibility = rights.visibility(record.task.pipeline_id)
    done = redact_task(record, visibility)
    for report in record.reports.values():
        logs = masks.hidden(report.logs, done.secrets)
        report.logs = redaction.without_lines(logs) if visibility == Visibility.NONE else logs
    for step in record.steps:
        if redaction.is_hidden_child(step, rights):
            step.input = step.output = MASK
            write_text(step, "input", "output")
    if drift := record.task.drift:
        steps = Step.objects.filter(task=record.task, key__in=[note["key"] for note in drift])
        closed = {step.key for step in steps.only("kind", "name", "key") if redaction.is_hidden_child(step, rights)}
        record.task.drift = redaction.redact_drift(drift, closed)
    return done


def redact_task(record: Record, visibility: Visibility) -> Redaction:
    """Redact by what the user may see of the task's pipeline.

    A value that was read in part cannot be searched for secrets: payload and result are read again as a whole, and
    such a step's input or output is masked as a whole.
    """
    task: Any = record.task
    if visibility == Visibility.FULL or (
        visibility == Visibility.REDACTED and not redaction.has_secrets(task, record.steps)
    ):
        return Redaction(is_whole=True)
    task.payload, task.result = (
        payload_and_result(task) if visibility == Visibility.REDACTED else (MASK, task.result_text and MASK)
    )
    is_whole = redaction.is_payload_visible(task, visibility)
    for step in record.steps:
        step.input, step.output, step.logs = parsed(step, "input"), parsed(step, "output"), step.log  # type: ignore[attr-defined]
    for attempt in record.attempts:
        details = record.details.get(attempt.pk, {"traceback": "", "logs": None})
        attempt.error_message, attempt.traceback = attempt.message, details["traceback"]  # type: ignore[attr-defined]
        attempt.logs = details["logs"]
    secrets = redaction.redact_rows(task, record.steps, record.attempts, visibility)
    write_text(task, "payload", "result")
    for step in record.steps:
        write_text(step, "input", "output")
        step.log = step.logs  # type: ignore[attr-defined]  # annotated
    for attempt in record.attempts:
        attempt.message = attempt.error_message  # type: ignore[attr-defined]  # annotated
        if attempt.pk in record.details:
            record.details[attempt.pk].update(traceback=attempt.traceback, logs=attempt.logs)
    return Redaction(is_whole, secrets)


def payload_and_result(task: Any) -> Any:
    """Both values; read again if the page has only their beginnings."""
    if is_complete(task, "payload") and is_complete(task, "result"):
        return json.loads(task.payload_text), json.loads(task.result_text or "null")
    return Task.objects.values_list("payload", "result").get(pk=task.pk)


def is_complete(row: Any, column: str) -> bool:
    text = getattr(row, f"{column}_text")
    return text is None or len(text.encode()) >= getattr(row, f"{column}_size")


def parsed(row: Any, column: str) -> Any:
    """The value of a text that was read; a mask if it is only the beginning."""
    text = getattr(row, f"{column}_text")
    if text is None:
        return None
    return json.loads(text) if is_complete(row, column) else MASK


def write_text(row: Any, *columns: str) -> None:
    """Write redacted values back to the annotations from which the page takes texts and sizes."""
    for column in columns:
        if getattr(row, f"{column}_text") is not None:
            text = json.dumps(getattr(row, column), ensure_ascii=False)
            setattr(row, f"{column}_text", text)
            setattr(row, f"{column}_size", len(text.encode()))
