"""Rights: what one caller may do with a pipeline's tasks. The API and the admin both ask here, and only here.

A deed needs its model permission. Once somebody is named for a pipeline, it also needs to be named for that deed there.
A superuser is never shut out. What handles the ends of a pipeline's tasks is that pipeline's: who is not named there is
not named for it either.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from django.db.models import Q

from taskqueue.definitions import HANDLERS, handled_by, registry
from taskqueue.errors import NotPermitted
from taskqueue.models import PipelinePermission


class Action(StrEnum):
    """What can be restricted for a pipeline; each is a column of `PipelinePermission`."""

    RUN = "run"
    VIEW_PAYLOAD = "view_payload"
    RETRY = "retry"
    CANCEL = "cancel"


NEEDS: Final = {
    Action.RUN: "taskqueue.add_task",
    Action.VIEW_PAYLOAD: "taskqueue.view_task_payload",
    Action.RETRY: "taskqueue.retry_task",
    Action.CANCEL: "taskqueue.cancel_task",
}
"""The model permission for each deed."""

WORDS: Final = {
    Action.RUN: "run tasks",
    Action.VIEW_PAYLOAD: "view payloads",
    Action.RETRY: "retry tasks",
    Action.CANCEL: "cancel tasks",
}
VIEW: Final = "taskqueue.view_task"


class Visibility(StrEnum):
    """How much of a task's values a caller sees."""

    FULL = "full"
    REDACTED = "redacted"
    """All but what is marked as secret."""
    NONE = "none"
    """None of them: the pipeline's rights name others."""


@dataclass
class Rights:
    """What one caller may do, for the length of one request: each pipeline is looked up once, or all at once.

    Args:
        user: the caller; None for one to whom everything is open.
    """

    user: Any
    _named: dict[str, frozenset[Action] | None] = field(default_factory=dict)
    _all_known: bool = False

    def may(self, deed: Action, pipeline: str) -> bool:
        """Whether the caller may do this with tasks of this pipeline."""
        return self.has(deed) and self.has_grant(deed, pipeline)

    def has(self, deed: Action) -> bool:
        """Whether the caller may do this with tasks of any pipeline that is not closed to them."""
        return self.user is None or bool(self.user.has_perm(NEEDS[deed]))

    def require(self, deed: Action, pipeline: str) -> None:
        """Refuse a caller who may not.

        Raises:
            NotPermitted
        """
        if not self.may(deed, pipeline):
            raise NotPermitted(f"You may not {WORDS[deed]} of pipeline {pipeline!r}.")

    def visibility(self, pipeline: str) -> Visibility:
        """How much the caller sees of the values of this pipeline's tasks."""
        if self.may(Action.VIEW_PAYLOAD, pipeline):
            return Visibility.FULL
        return Visibility.REDACTED if self.has_grant(Action.VIEW_PAYLOAD, pipeline) else Visibility.NONE

    def has_grant(self, deed: Action, pipeline: str) -> bool:
        """Whether the pipeline is open to everybody, or names the caller for this."""
        if self.user is None or self.user.is_superuser:
            return True
        line = line_of(pipeline)
        if not self._all_known and not self._named.keys() >= set(line):
            self._named |= dict.fromkeys(line) | self._read(PipelinePermission.objects.filter(pipeline__in=line))
        return all(named is None or deed in named for named in map(self._named.get, line))

    def pipelines_denied(self, deed: Action) -> set[str]:
        """The pipelines that name others, and not the caller, for this."""
        self.know_all()
        closed = {name for name, named in self._named.items() if named is not None and deed not in named}
        handlers = {f"{name}.{suffix}" for name in closed for suffix in HANDLERS.values()}
        return closed | handlers | {name for name in registry.by_name() if not closed.isdisjoint(line_of(name))}

    def closed_by_name(self, deed: Action) -> list[str]:
        """The pipelines of whose own rows that is so; for `is_closed`, where the caller is no longer known."""
        self.know_all()
        return sorted(name for name, named in self._named.items() if named is not None and deed not in named)

    def know_all(self) -> None:
        """Read the rights of every pipeline by one query, for lists."""
        if not self._all_known and self.user is not None and not self.user.is_superuser:
            self._named.update(self._read(PipelinePermission.objects.all()))
            self._all_known = True

    def _read(self, rights: Any) -> dict[str, frozenset[Action]]:
        """What the caller is named for, by pipeline; a pipeline that names only others has an empty set."""
        mine = Q(user=self.user.pk, user__isnull=False) | Q(group__in=self.user.groups.values("pk"))
        found: defaultdict[str, frozenset[Action]] = defaultdict(frozenset)
        for name, is_mine, *held in rights.annotate(is_mine=mine).values_list("pipeline_id", "is_mine", *Action):
            found[name] |= {deed for deed, holds in zip(Action, held, strict=True) if is_mine and holds}
        return dict(found)


def is_closed(pipeline: str, closed: Collection[str]) -> bool:
    """Whether a pipeline is one of these, or handles the ends of one of them."""
    return bool(closed) and not set(closed).isdisjoint(line_of(pipeline))


def line_of(pipeline: str) -> list[str]:
    """The pipeline, and if it handles the ends of another one's tasks that one too, and so on."""
    line = [pipeline]
    while name := handled_by(line[-1]):
        line.append(name)
    return line
