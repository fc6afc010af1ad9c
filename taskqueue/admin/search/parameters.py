"""Parse the URL parameters of the task list. The list, its export and bulk operations share this parser."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
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
PARAMETERS = (
    "status", "pipeline", "created", "ended", "error", "failure", "label", "retried", "repaired", *CREATED_RANGE,
    *ENDED_RANGE, "id__lt", "q",
)  # fmt: skip
"""All parameters that select tasks."""


@dataclass(frozen=True)
class TaskListParams:
    """The parsed parameters.

    Attributes:
        task_filter: selects the tasks.
        error: what is wrong with the search; then there are no results.
    """

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
    filtered = TaskFilter(
        statuses=statuses_of(given.get("status", "")),
        pipeline=given.get("pipeline", ""),
        age=age_of(given.get("created", "")),
        created_after=moment_of(given.get(CREATED_RANGE[0], "")),
        created_before=moment_of(given.get(CREATED_RANGE[1], "")),
        below=id_of(given.get("id__lt", "")),
        ended=time_range_of(given.get("ended", "")) or open_range_of(*(given.get(name, "") for name in ENDED_RANGE)),
        error=given.get("error", ""),
        failure=failure_of(given.get("failure", "")),
        repaired=yes_or_no(given.get("repaired", "")) or None,
        labels=labels_of(given.get("label", "")),
        has_failed_attempt=yes_or_no(given.get("retried", "")),
    )
    try:
        search = syntax.parse(given.get("q", "").strip(), may_see_payload=rights.has_permission(Action.VIEW_PAYLOAD))
    except syntax.InvalidSearch as error:
        return TaskListParams(filtered, str(error))
    closed = rights.pipelines_denied(Action.VIEW_PAYLOAD) if search.payload else ()
    return TaskListParams(replace(with_search(filtered, search), hidden_pipelines=tuple(sorted(closed))))


def with_search(filtered: TaskFilter, search: syntax.Search) -> TaskFilter:
    return replace(
        filtered,
        id_or_key_prefix=search.prefix,
        error_prefix=search.error,
        pipeline_prefix=search.pipeline,
        step=search.step,
        key_words=search.key_words,
        worker=search.worker,
        labels=(*filtered.labels, *search.labels),
        payload=tuple(search.payload),
    )


def statuses_of(text: str) -> tuple[str, ...]:
    """Statuses joined by commas; each once, in the order of a task's life."""
    chosen = set(text.split(",")) if text else set()
    if not chosen <= set(TaskStatus):
        raise IncorrectLookupParameters
    return tuple(status.value for status in TaskStatus if status in chosen)


def age_of(text: str) -> timedelta | None:
    if text and text not in AGES:
        raise IncorrectLookupParameters
    return AGES[text][1] if text else None


def moment_of(text: str) -> datetime | None:
    """A time in ISO 8601; in UTC without an offset."""
    if not text:
        return None
    try:
        moment = parse_datetime(text)
    except ValueError:
        moment = None
    if moment is None or not 2000 <= moment.year < 9000:
        raise IncorrectLookupParameters
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def time_range_of(text: str) -> tuple[datetime, datetime] | None:
    """A time range such as `2026-05-04T10:00Z..2026-05-04T10:05Z`."""
    if not text:
        return None
    begin, _sign, end = text.partition("..")
    first, last = moment_of(begin), moment_of(end)
    if first is None or last is None or first >= last or not all(ZONED.search(part) for part in (begin, end)):
        raise IncorrectLookupParameters
    return first, last


def open_range_of(begin: str, end: str) -> tuple[datetime, datetime] | None:
    """A time range of which either end may be open."""
    first, last = moment_of(begin), moment_of(end)
    if first is None and last is None:
        return None
    span = (first or datetime(2000, 1, 1, tzinfo=UTC), last or datetime(9000, 1, 1, tzinfo=UTC))
    if span[0] >= span[1]:
        raise IncorrectLookupParameters
    return span


def failure_of(text: str) -> tuple[str, str] | None:
    """An error type and a step, such as `ValueError@charge-card`."""
    error_type, _sign, step = text.partition("@")
    return (error_type, step) if text else None


def format_failure(error_type: str, step: str) -> str:
    """Write an error type and a step as the `failure` parameter."""
    return f"{error_type}@{step}"


def id_of(text: str) -> UUID | None:
    try:
        return UUID(text) if text else None
    except ValueError as error:
        raise IncorrectLookupParameters from error


def labels_of(text: str) -> tuple[tuple[str, str], ...]:
    if not text:
        return ()
    try:
        return (syntax.label_of(text),)
    except syntax.InvalidSearch as error:
        raise IncorrectLookupParameters from error


def yes_or_no(text: str) -> bool | None:
    if text not in {"", "yes", "no"}:
        raise IncorrectLookupParameters
    return text == "yes" if text else None
