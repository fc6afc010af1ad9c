"""What starts tasks, combines requests into one task, and cancels tasks."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import KW_ONLY, dataclass, field
from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from taskqueue.durations import Duration
from taskqueue.policies.bounds import check_time, check_whole
from taskqueue.policies.keys import Keyed, KeyTemplate
from taskqueue.policies.matching import check_match, check_paths
from taskqueue.policies.paths import MISSING, lookup

EVENT_NAME_MAX = 200
"""The longest event name, in characters."""

MAX_WAIT_DAYS = 7
MAX_DEBOUNCE_DAYS = 366
MAX_BATCH_SIZE = 10_000


@dataclass(frozen=True)
class Debounce(Keyed):
    """Start one task with the newest payload, once no request has come for a while.

    Attributes:
        wait: how long no request must come, 1 millisecond to 7 days.
        key: a key template; then each of its values is debounced separately.
        longest: the longest wait of the first request, however many follow; `wait` to 366 days.
    """

    wait: timedelta
    _: KW_ONLY
    key: str = ""
    longest: timedelta | None = None

    if TYPE_CHECKING:

        def __init__(self, wait: Duration, *, key: str = "", longest: Duration | None = None) -> None: ...

    def __post_init__(self) -> None:
        object.__setattr__(self, "wait", check_time("wait", self.wait, days=MAX_WAIT_DAYS))
        if self.longest is not None:
            object.__setattr__(self, "longest", check_time("longest", self.longest, days=MAX_DEBOUNCE_DAYS))
            if self.longest < self.wait:
                raise ValueError(f"longest is at least as long as wait ({self.wait}), not {self.longest}.")
        self.check_key()


@dataclass(frozen=True)
class Batch(Keyed):
    """Start one task for many requests.

    Attributes:
        size: how many requests fill a batch, 2 to 10,000.
        wait: how long the first request waits for more, 1 millisecond to 7 days.
        key: a key template; then each of its values has its own batches.
    """

    size: int
    _: KW_ONLY
    wait: timedelta
    key: str = ""

    if TYPE_CHECKING:

        def __init__(self, size: int, *, wait: Duration, key: str = "") -> None: ...

    def __post_init__(self) -> None:
        check_whole("size", self.size, least=2, most=MAX_BATCH_SIZE)
        object.__setattr__(self, "wait", check_time("wait", self.wait, days=MAX_WAIT_DAYS))
        self.check_key()


@dataclass(frozen=True)
class Singleton(Keyed):
    """At most one unfinished task at a time.

    Attributes:
        key: a key template; then at most one task for each of its values.
        mode: what a request does while a task is unfinished: "skip" creates no task, "cancel" cancels the older one.
    """

    _: KW_ONLY
    key: str = ""
    mode: Literal["skip", "cancel"] = "skip"

    def __post_init__(self) -> None:
        if self.mode not in {"skip", "cancel"}:
            raise ValueError(f'mode is "skip" or "cancel", not {self.mode!r}.')
        self.check_key()


@dataclass(frozen=True)
class On(Keyed):
    """Start when an event comes.

    Attributes:
        event: its name.
        match: dotted paths in its data, and the JSON values that they must have; empty for any data. Read-only.
        key: a template over its data for the task's idempotency key, such as "{order}"; none if all fields are missing.
        force: a dotted path in its data; if its value is `true`, a new task is created although the key is in use.
    """

    event: str
    _: KW_ONLY
    match: Mapping[str, Any] = field(default_factory=dict, hash=False)
    key: str = ""
    force: str = ""

    def __post_init__(self) -> None:
        _check_event(self.event)
        check_match(self.match)
        self.check_key()
        if self.force:
            check_paths([self.force])
            if not self.key:
                raise ValueError(f"force={self.force!r} without a key has no effect; add a key.")
        object.__setattr__(self, "match", MappingProxyType(deepcopy(dict(self.match))))

    def key_for(self, data: Mapping[str, Any]) -> str:
        """Return the idempotency key of the task that this data starts, or ""."""
        # The literal text is equal for all events: without a field it is no key.
        if (template := self.template) is None or all(
            lookup(path, data) in (MISSING, None) for path in template.fields
        ):
            return ""
        return template.render(data, {})

    def is_forced_by(self, data: Mapping[str, Any]) -> bool:
        """Whether this data requests a new task although its key is in use."""
        return bool(self.force) and lookup(self.force, data) is True


@dataclass(frozen=True)
class CancelOn:
    """Cancel an unfinished task when an event comes.

    Attributes:
        event: its name.
        match: dotted paths in the event's data, and templates over the task's own payload and labels for their values;
            empty for any data. Read-only.
    """

    event: str
    _: KW_ONLY
    match: Mapping[str, str] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        _check_event(self.event)
        check_paths(self.match)
        for template in self.match.values():
            KeyTemplate(template)
        object.__setattr__(self, "match", MappingProxyType(dict(self.match)))

    def bound(self, values: Mapping[str, Any], labels: Mapping[str, str]) -> dict[str, Any]:
        """Return the match for one task. A template of a single field keeps its JSON type, and is None when missing.

        Args:
            values: the payload as JSON.
            labels: the task's labels.
        """
        return {path: KeyTemplate(template).value(values, labels) for path, template in self.match.items()}


def is_event_name(text: str) -> bool:
    """Whether a text is a valid event name: 1 to 200 printable characters without spaces."""
    return 0 < len(text) <= EVENT_NAME_MAX and text.isprintable() and " " not in text


def _check_event(name: str) -> None:
    if not is_event_name(name):
        raise ValueError(f"An event's name has 1 to {EVENT_NAME_MAX} printable characters and no spaces, not {name!r}.")
