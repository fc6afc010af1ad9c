"""Permissions: what one caller may do with a pipeline's tasks. The API and the admin ask here, and only here.

An action needs its model permission. Once a pipeline has a grant, the action also needs a grant for the caller there.
Superusers need none. A pipeline that handles the completion of another one's tasks is covered by that one's grants.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from taskqueue.definitions import HANDLERS, INTERNAL, pipeline_of_handler, registry
from taskqueue.engine import sql
from taskqueue.engine.sql.access import read_grants
from taskqueue.errors import NotPermitted


class Action(StrEnum):
    """What can be restricted for a pipeline; each is a column of `PipelinePermission`."""

    RUN = "run"
    VIEW_PAYLOAD = "view_payload"
    RETRY = "retry"
    CANCEL = "cancel"


MODEL_PERMISSIONS: Final = {
    Action.RUN: "taskqueue.add_task",
    Action.VIEW_PAYLOAD: "taskqueue.view_task_payload",
    Action.RETRY: "taskqueue.retry_task",
    Action.CANCEL: "taskqueue.cancel_task",
}

PHRASES: Final = {
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
    """No values: the pipeline has grants, and none for the caller."""


@dataclass
class CallerPermissions:
    """What one caller may do, for the length of one request: the grants of a pipeline are read once.

    Args:
        user: the caller; None for one that may do everything.
        has_grants: whether any pipeline has grants; False saves reading them.
    """

    user: Any
    has_grants: bool = True
    _grants: dict[str, frozenset[Action] | None] = field(default_factory=dict)
    """The caller's grants by pipeline; None for a pipeline without grants, which is open to everyone."""
    _all_loaded: bool = False

    def may(self, action: Action, pipeline: str) -> bool:
        return self.has_permission(action) and self.has_grant(action, pipeline)

    def has_permission(self, action: Action) -> bool:
        """Whether the caller may do this with tasks of the pipelines that are not denied to them."""
        return self.user is None or bool(self.user.has_perm(MODEL_PERMISSIONS[action]))

    def require(self, action: Action, pipeline: str) -> None:
        """Refuse a caller who may not do this.

        Raises:
            NotPermitted
        """
        if not self.may(action, pipeline):
            raise NotPermitted(f"You may not {PHRASES[action]} of pipeline {pipeline!r}.")

    def visibility(self, pipeline: str) -> Visibility:
        if self.may(Action.VIEW_PAYLOAD, pipeline):
            return Visibility.FULL
        return Visibility.REDACTED if self.has_grant(Action.VIEW_PAYLOAD, pipeline) else Visibility.NONE

    def has_grant(self, action: Action, pipeline: str) -> bool:
        """Whether the pipeline has no grants, or one that allows this to the caller.

        No caller may submit deliveries, which are signed. They have values of all pipelines, so none may be denied.
        """
        if pipeline in INTERNAL and action == Action.RUN:
            return False
        if self.user is None or self.user.is_superuser or not self.has_grants:
            return True
        if pipeline in INTERNAL:
            return not self.pipelines_without_grant(action)
        names = with_handled_pipelines(pipeline)
        if not self._all_loaded and not self._grants.keys() >= set(names):
            self._grants |= dict.fromkeys(names) | self._read(names)
        return all(granted is None or action in granted for granted in map(self._grants.get, names))

    def pipelines_denied(self, action: Action) -> set[str]:
        """The pipelines, with their completion handlers, that have grants but none that allows this to the caller."""
        denied = set(self.pipelines_without_grant(action))
        handlers = {f"{name}.{suffix}" for name in denied for suffix in HANDLERS.values()}
        internal = INTERNAL if denied or action == Action.RUN else set()
        return denied | handlers | internal | {name for name in registry.by_name() if is_denied(name, denied)}

    def pipelines_without_grant(self, action: Action) -> list[str]:
        """As `pipelines_denied`, but without handlers: for `is_denied`, where the caller is no longer known."""
        self.load_all()
        return sorted(name for name, granted in self._grants.items() if granted is not None and action not in granted)

    def load_all(self) -> None:
        """Read the grants of all pipelines with one query, for lists."""
        if not self._all_loaded and self.has_grants and self.user is not None and not self.user.is_superuser:
            self._grants.update(self._read(None))
            self._all_loaded = True

    def _read(self, pipelines: list[str] | None) -> dict[str, frozenset[Action]]:
        """The caller's grants by pipeline, of all of them for None; an empty set where only others have grants."""
        grants: defaultdict[str, frozenset[Action]] = defaultdict(frozenset)
        # As text: the user model decides on the type.
        user = None if self.user.pk is None else str(self.user.pk)
        rows = sql.fetch(read_grants(of_all=pipelines is None), {"user": user, "pipelines": pipelines})
        for name, is_mine, *allowed in rows:
            grants[name] |= {action for action, allows in zip(Action, allowed, strict=True) if is_mine and allows}
        return dict(grants)


def is_denied(pipeline: str, denied: Collection[str]) -> bool:
    """Whether a pipeline is one of these, or handles the completion of one of them."""
    return bool(denied) and not set(denied).isdisjoint(with_handled_pipelines(pipeline))


def with_handled_pipelines(pipeline: str) -> list[str]:
    """The pipeline, the one whose completion it handles, the one whose completion that one handles, and so on."""
    names = [pipeline]
    while name := pipeline_of_handler(names[-1]):
        names.append(name)
    return names
