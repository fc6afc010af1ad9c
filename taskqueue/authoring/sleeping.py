"""Sleep: a task waits for a time without occupying a worker."""

from __future__ import annotations

from datetime import datetime, timedelta

from taskqueue.authoring.call_context import calling_task
from taskqueue.context import Suspension
from taskqueue.durations import Duration, duration_of
from taskqueue.json_values import codec
from taskqueue.states import StepKind

MAX_WAIT = timedelta(days=3650)


def sleep(name: str, duration: Duration) -> None:
    """Let the task wait for a duration. Outside of tasks it returns at once.

    Args:
        name: the key of its record; further sleeps of one name get the keys name#2, name#3.
        duration: from the first call, as a timedelta or in seconds; 0 or less does not wait.

    Raises:
        ValueError: the duration is longer than ten years.
        InvalidContext: called inside a step.
    """
    duration = duration_of(duration, "The duration of a sleep")
    if duration > MAX_WAIT:
        raise ValueError(f"A task sleeps for at most {MAX_WAIT.days:,} days.")
    if (task := calling_task(f"sleep({name!r})")) is not None and duration > timedelta(0):
        written = codec.write({"seconds": duration.total_seconds()})
        task.suspend([Suspension(kind=StepKind.SLEEP, name=name, delay=duration, input=written)])


def sleep_until(name: str, moment: datetime) -> None:
    """Let the task wait until a time; a past time does not wait. Outside of tasks it returns at once.

    Raises:
        ValueError: the time has no UTC offset.
        InvalidContext: called inside a step.
    """
    if moment.utcoffset() is None:
        raise ValueError("The time needs a UTC offset, such as 2030-01-31T08:00:00Z.")
    if (task := calling_task(f"sleep_until({name!r})")) is not None:
        written = codec.write({"until": moment.isoformat()})
        task.suspend([Suspension(kind=StepKind.SLEEP, name=name, until=moment, input=written)])
