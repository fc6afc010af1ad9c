"""Parse the URL parameters of the task list. The list, its export and bulk operations share this parser."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.contrib.admin.options import IncorrectLookupParameters
from django.utils.dateparse import parse_datetime

from taskqueue.admin.search import syntax
from taskqueue.admin.shared.filters import AGES
from taskqueue.engine.access.permissions import Action, CallerPermissions
from taskqueue.engine.queries.filters import TaskFilter
from taskqueue.json_values import codec
from taskqueue.states import TaskStatus

ZONED = re.compile(r"T.*(Z|[+-]\d\d:?\d\d)$")
CREATED_RANGE = ("created_at__gte", "created_at__lt")
ENDED_RANGE = ("ended_from", "ended_before")


@dataclass(frozen=True)
class TaskListParams:
    """The parsed parameters; `error` says what is wrong with the search, which then has no results."""

    task_filter: TaskFilter
    error: str = ""


def list_params_of(parameters: Mapping[str, str], rights: CallerPermissions) -> TaskListParams:
    """Parse parameters. A search in payloads leaves out pipelines whose payloads the user may not view.

    Raises:
        IncorrectLookupParameters: a filter has an invalid value.
    """
    given = {name: value for name in PARAMETERS if (value := parameters.get(name, ""))}
    if any(list(codec.text_errors(value, "")) for name, value in given.items() if name != "q"):
        raise IncorrectLookupParameters
    values = {field: parse(given[name]) for name, (field, parse) in PARSERS.items() if name in given}
    if "ended" not in values:
        values["ended"] = open_range_of(*(given.get(name, "") for name in ENDED_RANGE))
    filtered = TaskFilter(**values)
    may_see_payload = rights.has_permission(Action.VIEW_PAYLOAD)
    try:
        found = syntax.parse(given.get("q", "").strip(), filtered, may_see_payload=may_see_payload)
    except syntax.InvalidSearch as error:
        return TaskListParams(filtered, str(error))
    closed = rights.pipelines_denied(Action.VIEW_PAYLOAD) if found.payload else ()
    return TaskListParams(replace(found, hidden_pipelines=tuple(sorted(closed))))


def statuses_of(text: str) -> tuple[str, ...]:
    """Statuses joined by commas; each once, in the order of a task's life."""
    chosen = set(text.split(","))
    if not chosen <= set(TaskStatus):
        raise IncorrectLookupParameters
    return tuple(status.value for status in TaskStatus if status in chosen)


def age_of(text: str) -> timedelta:
    if text not in AGES:
        raise IncorrectLookupParameters
    return AGES[text][1]


def moment_of(text: str) -> datetime:
    """A time in ISO 8601; in UTC without an offset."""
    try:
        moment = parse_datetime(text)
    except ValueError:
        moment = None
    if moment is None or not 2000 <= moment.year < 9000:
        raise IncorrectLookupParameters
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def time_range_of(text: str) -> tuple[datetime, datetime]:
    """A time range such as `2026-05-04T10:00Z..2026-05-04T10:05Z`."""
    begin, _sign, end = text.partition("..")
    first, last = moment_of(begin), moment_of(end)
    if first >= last or not all(ZONED.search(part) for part in (begin, end)):
        raise IncorrectLookupParameters
    return first, last


def open_range_of(begin: str, end: str) -> tuple[datetime, datetime] | None:
    """A time range of which either end may be open."""
    if not begin and not end:
        return None
    first = moment_of(begin) if begin else datetime(2000, 1, 1, tzinfo=UTC)
    last = moment_of(end) if end else datetime(9000, 1, 1, tzinfo=UTC)
    if first >= last:
        raise IncorrectLookupParameters
    return first, last


def failure_of(text: str) -> tuple[str, str]:
    """An error type and a step, such as `ValueError@charge-card`."""
    error_type, _sign, step = text.partition("@")
    return error_type, step


def format_failure(error_type: str, step: str) -> str:
    """Write an error type and a step as the `failure` parameter."""
    return f"{error_type}@{step}"


def id_of(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as error:
        raise IncorrectLookupParameters from error


def labels_of(text: str) -> tuple[tuple[str, str], ...]:
    try:
        return (syntax.label_of(text),)
    except syntax.InvalidSearch as error:
        raise IncorrectLookupParameters from error


def yes_or_no(text: str) -> bool:
    if text not in {"yes", "no"}:
        raise IncorrectLookupParameters
    return text == "yes"


PARSERS: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "status": ("statuses", statuses_of),
    "pipeline": ("pipeline", str),
    "created": ("age", age_of),
    CREATED_RANGE[0]: ("created_after", moment_of),
    CREATED_RANGE[1]: ("created_before", moment_of),
    "id__lt": ("below", id_of),
    "ended": ("ended", time_range_of),
    "error": ("error", str),
    "failure": ("failure", failure_of),
    "repaired": ("repaired", lambda text: yes_or_no(text) or None),
    "label": ("labels", labels_of),
    "retried": ("has_failed_attempt", yes_or_no),
}
"""By parameter: the field of the filter, and what reads its value."""
PARAMETERS = (*PARSERS, *ENDED_RANGE, "q")
"""All parameters that select tasks."""
