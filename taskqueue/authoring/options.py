"""What `@pipeline` takes besides a name: checked, and put into one form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal, TypedDict, TypeVar

from taskqueue.conf import SHORTEST_RETENTION
from taskqueue.definitions import Policies, check_version
from taskqueue.durations import Duration, duration_of
from taskqueue.errors import DefinitionError
from taskqueue.policies import Batch, CancelOn, Cron, Debounce, Limit, On, Rate, Singleton

T = TypeVar("T")


class PipelineOptions(TypedDict, total=False):
    """The options of `@pipeline`."""

    version: str
    """The version of the body, kept with each task; `@….version("…")` keeps an old body for tasks that began on it."""
    concurrency: int | Limit | Sequence[Limit]
    """So many whole tasks at a time, from their start to their end: in all, for each value of a key, or both."""
    step_concurrency: int | Limit | Sequence[Limit]
    """So many of its steps at a time, while they execute."""
    throttle: Rate
    """So many starts of tasks in each period."""
    on: str | On | Sequence[str | On]
    """Events that start it, besides `<name>.requested`; an `On` for that one takes its place."""
    cancel_on: str | CancelOn | Sequence[str | CancelOn]
    """Events that cancel its tasks."""
    cron: str
    """When the clock starts it: minute, hour, day of the month, month, day of the week."""
    timezone: str
    """Of `cron`; UTC by default."""
    misfire: Literal["skip", "once", "all"]
    """What becomes of ticks that were missed: none, the newest ("once", the default), or all of them."""
    debounce: Debounce
    """Wait until requests with the same key have been quiet, then run the last one."""
    batch: Batch
    """Gather requests with the same key into one task."""
    singleton: Singleton
    """Only one task with the same key at a time."""
    start_within: Duration
    """A task that has not started so long after it was due is cancelled."""
    finish_within: Duration
    """A task that has not ended so long after its start is cancelled."""
    cancel_grace: Duration
    """How long after a cancel a worker may go on with the step that it is in before its process is ended."""
    keep: Duration | None
    """How long its ended tasks are kept; None for ever. As the setting RETENTION says, when it is not given."""
    strict: bool
    """Fail a task whose record and code disagree, instead of noting the drift."""
    announce: bool
    """Emit an event at each end, even if no deployed code listens for it."""


def policies_of(name: str, options: PipelineOptions) -> Policies:
    """The options in one form.

    Raises:
        DefinitionError: one of them cannot work, with a hint.
    """
    what = f"Pipeline {name!r}"
    refuse_unknown(what, options)
    try:
        policies = Policies(
            version=options.get("version", ""),
            concurrency=limits(what, "concurrency", options.get("concurrency")),
            step_concurrency=limits(what, "step_concurrency", options.get("step_concurrency")),
            throttle=of_type(what, "throttle", Rate, options.get("throttle")),
            on=tuple(On(each) if isinstance(each, str) else each for each in listed(options.get("on"))),
            cancel_on=tuple(
                CancelOn(each) if isinstance(each, str) else each for each in listed(options.get("cancel_on"))
            ),
            cron=clock(what, options),
            debounce=of_type(what, "debounce", Debounce, options.get("debounce")),
            batch=of_type(what, "batch", Batch, options.get("batch")),
            singleton=of_type(what, "singleton", Singleton, options.get("singleton")),
            start_within=span(what, "start_within", options.get("start_within")),
            finish_within=span(what, "finish_within", options.get("finish_within")),
            cancel_grace=span(what, "cancel_grace", options.get("cancel_grace"), least=timedelta(0)),
            keep=retention(what, options.get("keep")),
            keep_for_ever="keep" in options and options["keep"] is None,
            strict=bool(options.get("strict", False)),
            announce=bool(options.get("announce", False)),
        )
    except ValueError as error:
        raise DefinitionError(f"{what}: {error}", hint="See docs/pipelines.md for the options.") from error
    refuse_contradictions(what, policies)
    return policies


def refuse_unknown(what: str, options: Mapping[str, Any]) -> None:
    """Refuse an option that does not exist."""
    known = PipelineOptions.__annotations__
    for option in options:
        if option not in known:
            raise DefinitionError(f"{what} has an option {option!r}.", hint=f"There are: {', '.join(known)}.")


def refuse_contradictions(what: str, policies: Policies) -> None:
    """Refuse options that cannot be had together."""
    limited = [*policies.concurrency, *policies.step_concurrency, *filter(None, [policies.throttle])]
    keys = {limit.key for limit in limited if limit.key}
    if len(keys) > 1:
        raise DefinitionError(
            f"{what} has limits by different keys: {', '.join(sorted(keys))}.",
            hint="A pipeline's tasks are grouped by one key: use the same one for each of its limits.",
        )
    together = [name for name in ("debounce", "batch", "singleton") if getattr(policies, name) is not None]
    if len(together) > 1:
        raise DefinitionError(f"{what} has both {' and '.join(together)}.", hint="Use one of them.")
    check_version(policies.version, what)


def limits(what: str, option: str, value: object) -> tuple[Limit, ...]:
    """A limit, several, or a plain number: at most one in all and one by a key."""
    found = tuple(Limit(each) if isinstance(each, int) else each for each in listed(value))
    if not all(isinstance(each, Limit) for each in found):
        raise DefinitionError(f"{what} has {option}={value!r}.", hint=f"Use {option}=10 or {option}=Limit(2, key=…).")
    if len({bool(each.key) for each in found}) != len(found):
        raise DefinitionError(
            f"{what} has {len(found)} limits of one kind in {option}.", hint="Use at most one in all and one by a key."
        )
    return found


def clock(what: str, options: PipelineOptions) -> Cron | None:
    """The clock that starts it."""
    if "cron" not in options:
        if {"timezone", "misfire"} & set(options):
            raise DefinitionError(f"{what} has a timezone or misfire and no cron.", hint='Add cron="0 3 * * *".')
        return None
    return Cron(options["cron"], timezone=options.get("timezone", "UTC"), misfire=options.get("misfire", "once"))


def retention(what: str, value: object) -> timedelta | None:
    """How long ended tasks are kept."""
    length = None if value is None else duration_of(value, "keep")
    if length is not None and (length < SHORTEST_RETENTION or length.days > 36_500):
        raise DefinitionError(
            f"{what} has keep={value!r}.", hint=f"Give it a timedelta of at least {SHORTEST_RETENTION}, or None."
        )
    return length


def listed(value: object) -> list[Any]:
    """One or several as a list."""
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def of_type(what: str, option: str, kind: type[T], value: object) -> T | None:
    """A value of its type, or none."""
    if value is None or isinstance(value, kind):
        return value
    raise DefinitionError(f"{what} has {option}={value!r}.", hint=f"Give it a {kind.__name__}.")


def span(what: str, option: str, value: object, *, least: timedelta | None = None) -> timedelta | None:
    """A length of time, or none."""
    if value is None:
        return None
    length = duration_of(value, option)
    if length < (least or timedelta(milliseconds=1)) or length.days > 3650:
        raise DefinitionError(f"{what} has {option}={value!r}.", hint="Give it a timedelta of up to 3,650 days.")
    return length
