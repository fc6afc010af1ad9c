"""The settings of taskqueue: the dict TASKQUEUE, with a default for each entry (see docs/settings.md)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any, get_type_hints

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed

from taskqueue.queues import TakenQueues, reserved_slots
from taskqueue.webhooks.signatures import is_secret

MEBIBYTE = 1024 * 1024
SHORTEST_RETENTION = timedelta(minutes=1)
"""So that a caller has time to read the outcome of a task."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The entries of TASKQUEUE and their defaults."""

    IDEMPOTENCY_WINDOW: timedelta = timedelta(hours=24)
    """How long an idempotency key belongs to the first task that was created with it."""
    PAYLOAD_MAX_BYTES: int = MEBIBYTE // 2
    """Largest payload, as JSON."""
    BATCH_MAX_BYTES: int = 8 * MEBIBYTE
    """Largest request body of a batch of tasks."""
    STEP_OUTPUT_MAX_BYTES: int = 4 * MEBIBYTE
    """Largest output, and largest arguments, of one step, as JSON."""
    TASK_OUTPUT_MAX_BYTES: int = 32 * MEBIBYTE
    """Largest total of the step outputs of one task."""
    THREADS: int = 5
    """How many tasks a worker process executes at once, each in a thread; `manage.py worker --threads` overrides it."""
    ASYNC_SLOTS: int = 100
    """How many async tasks a worker process executes at once, all on one event loop; 0: each of them in a thread."""
    WORKER_LOOP_TIME: timedelta = timedelta(seconds=2)
    """How long a worker claims tasks before it returns to the process pool's own loop."""
    STOP_GRACE: timedelta = timedelta(seconds=30)
    """How long a stopping worker may finish its current step."""
    HARD_TIMEOUT_GRACE: timedelta = timedelta(seconds=10)
    """How long a step may run beyond its `timeout` before its worker process is ended."""
    PARALLEL_STEPS_MAX: int = 10_000
    """Most parallel steps in one `gather` or `each`."""
    DEPTH_MAX: int = 10
    """Most ancestors of a child task."""
    STEP_LOG_LINES: int = 100
    """How many log lines of an attempt are stored, the last ones; 0 stores none."""
    STEP_LOG_MAX_BYTES: int = 16 * 1024
    """Most bytes of log lines of one attempt."""
    TASK_CHUNKS_MAX_BYTES: int = MEBIBYTE
    """Most bytes that the steps of one task may write with `current_task().write()`."""
    STUCK_POOL_TIMEOUT: timedelta = timedelta(seconds=10)
    """How long claimable tasks may lie next to idle workers before their pool is restarted."""
    STATUS_WAITERS: int = 4
    """How many requests with `?wait=` may wait in one WSGI process, each in a thread."""
    WORKER_DATABASE: str = ""
    """The alias in DATABASES for the workers' connection to the default database; empty for `default`."""
    QUEUES: str = ""
    """The queues that workers take, such as "mail,default"; empty for all. `manage.py worker --queues` overrides it."""
    NOT_QUEUES: str = ""
    """The queues that workers do not take; `manage.py worker --not` overrides it."""
    STRICT_QUEUES: bool = False
    """Whether all tasks of a queue come before those of the queues named after it in QUEUES; `--strict` sets it too."""
    RESERVE: str = ""
    """The threads that each process keeps for tasks of some queues, such as "urgent=1"; `--reserve` overrides it."""
    RETENTION: timedelta | None = timedelta(days=30)
    """How long events and ended tasks are kept, unless their pipeline sets it; None for ever."""
    PRUNE_PER_SECOND: int = 500
    """Most ended tasks pruned per second, over all workers."""
    EXAMPLE_PIPELINE: str = ""
    """The pipeline that an empty overview offers to try; empty for none."""
    WEBHOOKS_ALLOW_PRIVATE: bool = False
    """Whether webhooks may call addresses of private networks, and http."""
    WEBHOOKS_SECRET: str = ""
    """The secret that signs calls to a task's callback URL; two, with a space between, while it is changed."""
    ADMIN_URL: str = ""
    """The address of the admin, such as https://tasks.example.com/admin/, for the links in alerts; empty: no links."""
    PUBLIC_URL: str = ""
    """Where people reach this service, such as https://tasks.example.com, for links in mails; empty: no links."""
    DJANGO_Q_ADMIN: bool = False
    """Whether the admin lists django-q2's own messages too."""
    DASHBOARD_TIMEOUT: timedelta = timedelta(seconds=3)
    """How long one query of an admin page may take; then the page asks for narrower filters."""


@cache
def settings() -> Settings:
    """The current settings.

    Raises:
        ImproperlyConfigured: TASKQUEUE has an unknown entry, or a value of the wrong type or range.
    """
    given: dict[str, object] = getattr(django_settings, "TASKQUEUE", {})
    kinds = get_type_hints(Settings)
    for name, value in given.items():
        if name not in kinds:
            raise ImproperlyConfigured(f"TASKQUEUE has no setting {name!r}. Known settings: {', '.join(kinds)}.")
        if not isinstance(value, kinds[name]):
            raise ImproperlyConfigured(f"TASKQUEUE[{name!r}] must be a {type_name(kinds[name])}, not {value!r}.")
    found = Settings(**given)  # type: ignore[arg-type]  # the loop above has checked each value
    check_ranges(found)
    return found


def check_ranges(found: Settings) -> None:
    if found.RETENTION is not None and found.RETENTION < SHORTEST_RETENTION:
        raise ImproperlyConfigured(f"TASKQUEUE['RETENTION'] must be at least {SHORTEST_RETENTION}, or None for ever.")
    if found.THREADS < 1:
        raise ImproperlyConfigured("TASKQUEUE['THREADS'] must be at least 1.")
    if found.ASYNC_SLOTS < 0:
        raise ImproperlyConfigured("TASKQUEUE['ASYNC_SLOTS'] must be at least 0, for none.")
    if found.PRUNE_PER_SECOND < 1:
        raise ImproperlyConfigured("TASKQUEUE['PRUNE_PER_SECOND'] must be at least 1.")
    check_texts(found)
    try:
        TakenQueues.of(found.QUEUES, found.NOT_QUEUES)
    except ValueError as error:
        raise ImproperlyConfigured(f"TASKQUEUE['QUEUES'] or ['NOT_QUEUES'] is not valid. {error}") from error
    try:
        reserved_slots(found.RESERVE)
    except ValueError as error:
        raise ImproperlyConfigured(f"TASKQUEUE['RESERVE'] is not valid. {error}") from error


def check_texts(found: Settings) -> None:
    for name in ("ADMIN_URL", "PUBLIC_URL"):
        if (address := getattr(found, name)) and not address.startswith(("https://", "http://")):
            raise ImproperlyConfigured(f"TASKQUEUE['{name}'] must begin with https:// or http://.")
    if not all(map(is_secret, found.WEBHOOKS_SECRET.split())):
        raise ImproperlyConfigured("TASKQUEUE['WEBHOOKS_SECRET'] must be whsec_ and 24 to 64 bytes in base64.")


def type_name(kind: object) -> str:
    return kind.__name__ if isinstance(kind, type) else str(kind).replace("datetime.", "")


def forget_settings(*, setting: str, **_signal: Any) -> None:
    if setting == "TASKQUEUE":
        settings.cache_clear()


setting_changed.connect(forget_settings)
