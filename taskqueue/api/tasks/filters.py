"""The filters of tasks that the list and bulk operations share."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Final
from urllib.parse import urlencode

from pydantic import AfterValidator, BeforeValidator, Field

from taskqueue.api.fields import Moment, Text, invalid
from taskqueue.api.parameters import Query, invalid_query
from taskqueue.definitions import registry
from taskqueue.engine.queries.filters import TaskFilter
from taskqueue.errors import FieldError
from taskqueue.models import Pipeline
from taskqueue.states import TaskStatus

TICK: Final = timedelta(microseconds=1)
"""The resolution of stored times."""
LONGEST: Final = 366 * 86_400.0


def split_commas(texts: list[str]) -> list[str]:
    """The values of a parameter that is repeated, comma-separated, or both."""
    return [part for text in texts for part in text.split(",")]


def label_filter(text: str) -> str:
    if ":" not in text:
        raise invalid("it must be a label's name and value with a colon between them, such as tenant:acme")
    return text


class TaskFilters(Query):
    """Filters of tasks; a task must match all of them."""

    pipeline: Text = Field(default="", min_length=1, max_length=200, description="Tasks of this pipeline.")
    status: Annotated[list[TaskStatus], BeforeValidator(split_commas)] = Field(
        default_factory=list,
        description="Tasks in one of these statuses: repeat the parameter, or separate them by commas.",
    )
    key: Text = Field(default="", min_length=1, max_length=200, description="Tasks created with this idempotency key.")
    label: list[Annotated[Text, AfterValidator(label_filter)]] = Field(
        default_factory=list,
        description="Tasks with this label, as `name:value`. Repeat the parameter for tasks with several labels.",
        json_schema_extra={"items": {"type": "string", "pattern": "^[^:]*:"}},
    )
    created_after: Moment | None = Field(default=None, description="Tasks created after this time.")
    created_before: Moment | None = Field(default=None, description="Tasks created before this time.")
    ended_after: Moment | None = Field(default=None, description="Tasks that ended after this time.")
    ended_before: Moment | None = Field(default=None, description="Tasks that ended before this time.")
    pipeline_prefix: Text = Field(
        default="", min_length=1, max_length=200, description="Tasks of pipelines whose names begin with this."
    )
    subject: Text = Field(
        default="",
        min_length=1,
        max_length=200,
        description="Tasks about this object: its model and primary key, such as `shop.order:7`.",
    )
    error: Text = Field(
        default="", min_length=1, max_length=200, description="Tasks that failed with this type, or an attempt did."
    )
    error_text: Text = Field(
        default="",
        min_length=1,
        max_length=200,
        description="Tasks whose error, or that of a failed attempt, contains this text, in any case.",
    )
    took_at_least: float | None = Field(
        default=None, ge=0, le=LONGEST, description="Tasks that took so many seconds or more, until their end or now."
    )
    took_less_than: float | None = Field(
        default=None, gt=0, le=LONGEST, description="Tasks that took less than so many seconds."
    )

    @property
    def is_searching(self) -> bool:
        """Whether it has a filter without an index, for which a page may not look at all tasks."""
        words = (self.pipeline_prefix, self.error, self.error_text)
        limits = (self.ended_after, self.ended_before, self.took_at_least, self.took_less_than)
        return any(words) or any(limit is not None for limit in limits)

    def task_filter(self) -> TaskFilter:
        """The filter for the engine.

        Raises:
            Refusal: no pipeline has that name.
        """
        if self.pipeline:
            refuse_unknown_pipeline(self.pipeline)
        limits = (self.took_at_least, self.took_less_than)
        shortest, longest = (None if limit is None else timedelta(seconds=limit) for limit in limits)
        names = ("pipeline", "key", "created_before", "pipeline_prefix", "subject", "error", "error_text")
        return TaskFilter(
            **{name: getattr(self, name) for name in names},
            statuses=tuple(status.value for status in self.status),
            labels=tuple((name, value) for name, _colon, value in (each.partition(":") for each in self.label)),
            created_after=after(self.created_after),
            finished=(after(self.ended_after), self.ended_before),
            duration=(shortest, longest),
        )

    def as_query(self) -> str:
        """The given filters as the query of a URL."""
        given = self.model_dump(mode="json", exclude_defaults=True, include=set(TaskFilters.model_fields))
        statuses = {"status": ",".join(given["status"])} if "status" in given else {}  # as the admin's list writes them
        return urlencode({**given, **statuses}, doseq=True)


def after(moment: datetime | None) -> datetime | None:
    """The first time after this one, which a filter includes."""
    return None if moment is None else moment + TICK


def refuse_unknown_pipeline(name: str) -> None:
    # A query is needed only for a name that this code does not define: older code may have.
    if name not in registry.names() and not Pipeline.objects.filter(pk=name).exists():
        raise invalid_query([FieldError("/pipeline", f"no pipeline is called {name!r}")])
