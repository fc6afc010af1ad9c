"""The options of `@pipeline`: checked, and brought into one form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal, TypedDict, TypeVar

from taskqueue.conf import SHORTEST_RETENTION
from taskqueue.definitions import Policies, check_version
from taskqueue.durations import Duration, duration_of
from taskqueue.errors import DefinitionError
from taskqueue.policies import Batch, CancelOn, Cron, Debounce, Limit, On, Rate, Singleton
from taskqueue.queues import DEFAULT_QUEUE, QUEUE_NAME_RULE, is_queue_name

T = TypeVar("T")


class PipelineOptions(TypedDict, total=False):
    """The options of `@pipeline`."""

    version: str
    """The version of the body, stored with each task; `@….version("…")` keeps an old body for its tasks."""
    queue: str
    """Its queue, which workers can be told to take or not to take; "default" by default."""
    concurrency: int | Limit | Sequence[Limit]
    """At most so many tasks at a time, from their start to their end: in total, for each value of a key, or both."""
    step_concurrency: int | Limit | Sequence[Limit]
    """At most so many of its steps executing at a time."""
    throttle: Rate
    """At most so many starts of tasks in each period."""
    on: str | On | Sequence[str | On]
    """Events that start it, in addition to `<name>.requested`, which an `On` with that name replaces."""
    cancel_on: str | CancelOn | Sequence[str | CancelOn]
    """Events that cancel its tasks."""
    cron: str
    """Its schedule: minute, hour, day of the month, month, day of the week."""
    timezone: str
    """Of `cron`; UTC by default."""
    misfire: Literal["skip", "once", "all"]
    """Which missed scheduled times still run: none, the newest ("once", the default), or all."""
    debounce: Debounce
    """Wait until no request with an equal key has come for a while, then run the last one."""
    batch: Batch
    """Combine requests with an equal key into one task."""
    singleton: Singleton
    """At most one unfinished task for each key."""
    start_within: Duration
    """Cancel a task that has not started within this time after it was due."""
    finish_within: Duration
    """Cancel a task that has not ended within this time after its start."""
    cancel_grace: Duration
    """How long the current step of a cancelled task may run on before its worker process is ended."""
    keep: Duration | None
    """How long its ended tasks are kept; None for ever. The default is the setting RETENTION."""
    strict: bool
    """Fail a task on drift between its record and the code, instead of only recording the drift."""
    announce: bool
    """Emit an event whenever a task ends, even if no deployed code mentions the event."""
    idempotent: bool
    """Its tasks may run again after a crash, although they had succeeded: several short ones end in one commit."""


def policies_of(name: str, options: PipelineOptions) -> Policies:
    """Return the options in one form.

    Raises:
        DefinitionError: an option is not valid, with a hint.
    """
    what = f"Pipeline {name!r}"
    refuse_unknown(what, options)
    try:
        policies = Policies(
            version=options.get("version", ""),
            queue=queue_of(what, options.get("queue", DEFAULT_QUEUE)),
            concurrency=limits(what, "concurrency", options.get("concurrency")),
            step_concurrency=limits(what, "step_concurrency", options.get("step_concurrency")),
            throttle=checked(what, "throttle", Rate, options.get("throttle")),
            on=tuple(On(each) if isinstance(each, str) else each for each in as_list(options.get("on"))),
            cancel_on=tuple(
                CancelOn(each) if isinstance(each, str) else each for each in as_list(options.get("cancel_on"))
            ),
            cron=cron_of(what, options),
            debounce=checked(what, "debounce", Debounce, options.get("debounce")),
            batch=checked(what, "batch", Batch, options.get("batch")),
            singleton=checked(what, "singleton", Singleton, options.get("singleton")),
            start_within=duration(what, "start_within", options.get("start_within")),
            finish_within=duration(what, "finish_within", options.get("finish_within")),
            cancel_grace=duration(what, "cancel_grace", options.get("cancel_grace"), least=timedelta(0)),
            keep=retention(what, options.get("keep")),
            keep_for_ever="keep" in options and options["keep"] is None,
            strict=bool(options.get("strict", False)),
            announce=bool(options.get("announce", False)),
            idempotent=bool(options.get("idempotent", False)),
        )
    except ValueError as error:
        raise DefinitionError(f"{what}: {error}", hint="See docs/pipelines.md for the options.") from error
    refuse_contradictions(what, policies)
    return policies


def refuse_unknown(what: str, options: Mapping[str, Any]) -> None:
    names = PipelineOptions.__annotations__
    for option in options:
        if option not in names:
            raise DefinitionError(f"{what} has an option {option!r}.", hint=f"There are: {', '.join(names)}.")


def refuse_contradictions(what: str, policies: Policies) -> None:
    limited = [*policies.concurrency, *policies.step_concurrency, *filter(None, [policies.throttle])]
    keys = {limit.key for limit in limited if limit.key}
    if len(keys) > 1:
        raise DefinitionError(
            f"{what} has limits by different keys: {', '.join(sorted(keys))}.",
            hint="A pipeline has one concurrency key: use it for each of its limits.",
        )
    exclusive = [name for name in ("debounce", "batch", "singleton") if getattr(policies, name) is not None]
    if len(exclusive) > 1:
        raise DefinitionError(f"{what} has both {' and '.join(exclusive)}.", hint="Use one of them.")
    check_version(policies.version, what)


def queue_of(what: str, name: str) -> str:
    if not is_queue_name(name):
        raise DefinitionError(f"{what} has queue={name!r}.", hint=QUEUE_NAME_RULE)
    return name


def limits(what: str, option: str, value: object) -> tuple[Limit, ...]:
    """Return a number, a limit or a list of limits as limits: at most one without and one with a key."""
    found = tuple(Limit(each) if isinstance(each, int) else each for each in as_list(value))
    if not all(isinstance(each, Limit) for each in found):
        raise DefinitionError(f"{what} has {option}={value!r}.", hint=f"Use {option}=10 or {option}=Limit(2, key=…).")
    if len({bool(each.key) for each in found}) != len(found):
        raise DefinitionError(
            f"{what} has {len(found)} limits of one kind in {option}.",
            hint="Use at most one without a key and one with a key.",
        )
    return found


def cron_of(what: str, options: PipelineOptions) -> Cron | None:
    if "cron" not in options:
        if {"timezone", "misfire"} & set(options):
            raise DefinitionError(f"{what} has a timezone or misfire and no cron.", hint='Add cron="0 3 * * *".')
        return None
    return Cron(options["cron"], timezone=options.get("timezone", "UTC"), misfire=options.get("misfire", "once"))


def retention(what: str, value: object) -> timedelta | None:
    length = None if value is None else duration_of(value, "keep")
    if length is not None and (length < SHORTEST_RETENTION or length.days > 36_500):
        raise DefinitionError(
            f"{what} has keep={value!r}.", hint=f"Give it a timedelta of at least {SHORTEST_RETENTION}, or None."
        )
    return length


def as_list(value: object) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def checked(what: str, option: str, kind: type[T], value: object) -> T | None:
    if value is None or isinstance(value, kind):
        return value
    raise DefinitionError(f"{what} has {option}={value!r}.", hint=f"Give it a {kind.__name__}.")


def duration(what: str, option: str, value: object, *, least: timedelta | None = None) -> timedelta | None:
    if value is None:
        return None
    length = duration_of(value, option)
    if length < (least or timedelta(milliseconds=1)) or length.days > 3650:
        raise DefinitionError(f"{what} has {option}={value!r}.", hint="Give it a timedelta of up to 3,650 days.")
    return length
