"""The settings of taskqueue: one documented TASKQUEUE dict, with a default for each entry (see docs/settings.md)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any, get_type_hints

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed

MEBIBYTE = 1024 * 1024
SHORTEST_RETENTION = timedelta(minutes=1)
"""Who asked for a task has at least so long to see its end."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What TASKQUEUE may hold."""

    IDEMPOTENCY_WINDOW: timedelta = timedelta(hours=24)
    """How long a key keeps pointing at the task that was first made with it."""
    PAYLOAD_MAX_BYTES: int = MEBIBYTE // 2
    """Largest payload, as JSON."""
    BATCH_MAX_BYTES: int = 8 * MEBIBYTE
    """Largest body of a request for many tasks at once, as it is sent."""
    STEP_OUTPUT_MAX_BYTES: int = 4 * MEBIBYTE
    """Largest output of one step, and largest arguments to one, as JSON."""
    TASK_OUTPUT_MAX_BYTES: int = 32 * MEBIBYTE
    """Largest sum of the step outputs of one task."""
    WORKER_LOOP_TIME: timedelta = timedelta(seconds=2)
    """How long a worker goes on claiming before it lets the process pool have a look."""
    STOP_GRACE: timedelta = timedelta(seconds=30)
    """How long a stopping worker may go on with the step that it is in."""
    HARD_TIMEOUT_GRACE: timedelta = timedelta(seconds=10)
    """How long a step may go on after its `timeout` before its worker process is ended."""
    PARALLEL_STEPS_MAX: int = 10_000
    """Most steps beside each other in one `gather` or `each`."""
    DEPTH_MAX: int = 10
    """Most parents that a child task may have above it."""
    STEP_LOG_LINES: int = 100
    """How many of the last lines that a try of a step logs are kept with it; none turns it off."""
    STEP_LOG_MAX_BYTES: int = 16 * 1024
    """Most bytes of such lines."""
    STUCK_POOL_TIMEOUT: timedelta = timedelta(seconds=10)
    """How long claimable work may lie beside idle workers before their pool is started anew."""
    STATUS_WAITERS: int = 4
    """How many requests with `?wait=` a web process with threads holds at once, each in a thread."""
    WORKER_DATABASE: str = ""
    """The alias in DATABASES by which workers reach the default database; empty for the same way as everybody."""
    RETENTION: timedelta | None = timedelta(days=30)
    """How long ended tasks are kept where their pipeline does not say; None for ever. Events too."""
    PRUNE_PER_SECOND: int = 500
    """So many ended tasks a second are pruned at most, over all workers."""
    EXAMPLE_PIPELINE: str = ""
    """The pipeline whose example payload an empty overview offers to send; empty for none."""
    DJANGO_Q_ADMIN: bool = False
    """Whether the admin lists django-q2's own messages as well."""
    DASHBOARD_TIMEOUT: timedelta = timedelta(seconds=3)
    """How long one question of a page of the admin may take before the page asks for a narrower one."""


@cache
def settings() -> Settings:
    """The settings now in force.

    Raises:
        ImproperlyConfigured: TASKQUEUE holds an entry that does not exist, or one of the wrong type.
    """
    given: dict[str, object] = getattr(django_settings, "TASKQUEUE", {})
    kinds = get_type_hints(Settings)
    for name, value in given.items():
        if name not in kinds:
            raise ImproperlyConfigured(f"TASKQUEUE has no setting {name!r}. It knows: {', '.join(kinds)}.")
        if not isinstance(value, kinds[name]):
            raise ImproperlyConfigured(f"TASKQUEUE[{name!r}] must be a {spelt(kinds[name])}, not {value!r}.")
    chosen = Settings(**given)  # type: ignore[arg-type]  # the loop above has checked each value
    if chosen.RETENTION is not None and chosen.RETENTION < SHORTEST_RETENTION:
        raise ImproperlyConfigured(f"TASKQUEUE['RETENTION'] must be at least {SHORTEST_RETENTION}, or None for ever.")
    if chosen.PRUNE_PER_SECOND < 1:
        raise ImproperlyConfigured("TASKQUEUE['PRUNE_PER_SECOND'] must be at least 1.")
    return chosen


def spelt(kind: object) -> str:
    """A type as people write it."""
    return kind.__name__ if isinstance(kind, type) else str(kind).replace("datetime.", "")


def forget_settings(*, setting: str, **_signal: Any) -> None:
    """Read them anew after a test has overridden them."""
    if setting == "TASKQUEUE":
        settings.cache_clear()


setting_changed.connect(forget_settings)
