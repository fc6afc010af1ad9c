"""What an address of the task list asks for. The list, its export and operations read it alike."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from django.contrib.admin.options import IncorrectLookupParameters
from django.utils.dateparse import parse_datetime

from taskqueue import codec
from taskqueue.admin.search import syntax
from taskqueue.admin.shared.filters import AGES
from taskqueue.engine.access.permissions import Action, Rights
from taskqueue.engine.queries.filters import TaskFilter
from taskqueue.states import TaskStatus

ZONED = re.compile(r"T.*(Z|[+-]\d\d:?\d\d)$")
SLICE = ("created_at__gte", "created_at__lt")
ENDED = ("ended_from", "ended_before")
PARAMETERS = (
    "status", "pipeline", "created", "ended", "error", "failure", "label", "retried", "repaired", *SLICE, *ENDED,
    "id__lt", "q",
)  # fmt: skip
"""All that narrow the list."""


@dataclass(frozen=True)
class TaskListParams:
    """What is asked for.

    Attributes:
        selection: the tasks.
        fault: what is wrong with the search; none is done then.
    """

    selection: TaskFilter
    fault: str = ""


def list_params_of(parameters: Mapping[str, str], rights: Rights) -> TaskListParams:
    """Read the parameters of an address, and search only in payloads that its reader may see.

    Raises:
        IncorrectLookupParameters: a filter has a value that it cannot have.
    """
    given = {name: value for name in PARAMETERS if (value := parameters.get(name, ""))}
    if any(list(codec.text_faults(value, "")) for name, value in given.items() if name != "q"):
        raise IncorrectLookupParameters
    filtered = TaskFilter(
        statuses=statuses_of(given.get("status", "")),
        pipeline=given.get("pipeline", ""),
        age=age_of(given.get("created", "")),
        made_from=moment_of(given.get(SLICE[0], "")),
        made_before=moment_of(given.get(SLICE[1], "")),
        below=id_of(given.get("id__lt", "")),
        ended=slice_of(given.get("ended", "")) or span_of(*(given.get(name, "") for name in ENDED)),
        error=given.get("error", ""),
        failure=failure_of(given.get("failure", "")),
        repaired=answer_of(given.get("repaired", "")) or None,
        labels=labels_of(given.get("label", "")),
        has_failed_try=answer_of(given.get("retried", "")),
    )
    try:
        search = syntax.read(given.get("q", "").strip(), may_see_payload=rights.has(Action.VIEW_PAYLOAD))
    except syntax.InvalidSearch as unfit:
        return TaskListParams(filtered, str(unfit))
    closed = rights.pipelines_denied(Action.VIEW_PAYLOAD) if search.payload else ()
    return TaskListParams(replace(with_search(filtered, search), closed=tuple(sorted(closed))))


def with_search(filtered: TaskFilter, search: syntax.Search) -> TaskFilter:
    """The tasks of the filters among which is searched."""
    values = {
        **vars(filtered),
        "begins": search.begins,
        "errors": search.error,
        "pipelines": search.pipeline,
        "step": search.step,
        "key_part": search.key_part,
        "worker": search.worker,
        "labels": (*filtered.labels, *search.labels),
        "payload": tuple(search.payload),
    }
    return TaskFilter(**values)


def statuses_of(text: str) -> tuple[str, ...]:
    """Statuses with commas between them, each once and in the order in which a task passes through them."""
    asked = set(text.split(",")) if text else set()
    if not asked <= set(TaskStatus):
        raise IncorrectLookupParameters
    return tuple(status.value for status in TaskStatus if status in asked)


def age_of(text: str) -> timedelta | None:
    """An age that the filter offers."""
    if text and text not in AGES:
        raise IncorrectLookupParameters
    return AGES[text][1] if text else None


def moment_of(text: str) -> datetime | None:
    """A moment in ISO 8601; in UTC if it does not say."""
    if not text:
        return None
    try:
        moment = parse_datetime(text)
    except ValueError:
        moment = None
    if moment is None or not 2000 <= moment.year < 9000:
        raise IncorrectLookupParameters
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def slice_of(text: str) -> tuple[datetime, datetime] | None:
    """A slice of time such as `2026-05-04T10:00Z..2026-05-04T10:05Z`."""
    if not text:
        return None
    begin, _sign, end = text.partition("..")
    first, last = moment_of(begin), moment_of(end)
    if first is None or last is None or first >= last or not all(ZONED.search(part) for part in (begin, end)):
        raise IncorrectLookupParameters
    return first, last


def span_of(begin: str, end: str) -> tuple[datetime, datetime] | None:
    """A slice of time as people choose it: either end may be open."""
    first, last = moment_of(begin), moment_of(end)
    if first is None and last is None:
        return None
    span = (first or datetime(2000, 1, 1, tzinfo=UTC), last or datetime(9000, 1, 1, tzinfo=UTC))
    if span[0] >= span[1]:
        raise IncorrectLookupParameters
    return span


def failure_of(text: str) -> tuple[str, str] | None:
    """The type of an error and the name of the step that it ended, such as `ValueError@charge-card`."""
    error_type, _sign, step = text.partition("@")
    return (error_type, step) if text else None


def written_failure(error_type: str, step: str) -> str:
    """The same as it is asked for."""
    return f"{error_type}@{step}"


def id_of(text: str) -> UUID | None:
    """An id."""
    try:
        return UUID(text) if text else None
    except ValueError as error:
        raise IncorrectLookupParameters from error


def labels_of(text: str) -> tuple[tuple[str, str], ...]:
    """One label with its value."""
    if not text:
        return ()
    try:
        return (syntax.label_of(text),)
    except syntax.InvalidSearch as error:
        raise IncorrectLookupParameters from error


def answer_of(text: str) -> bool | None:
    """Yes or no."""
    if text not in {"", "yes", "no"}:
        raise IncorrectLookupParameters
    return text == "yes" if text else None
