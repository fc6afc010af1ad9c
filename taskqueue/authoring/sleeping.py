"""Sleeping: a task waits for a time and holds no worker."""

from __future__ import annotations

from datetime import datetime, timedelta

from taskqueue import codec
from taskqueue.authoring.places import body
from taskqueue.context import Pause
from taskqueue.durations import Duration, duration_of
from taskqueue.states import StepKind

LONGEST = timedelta(days=3650)


def sleep(name: str, duration: Duration) -> None:
    """Let the task wait for so long. Outside a task it returns at once.

    Args:
        name: by which people see it, and by which the task knows that it has slept: further ones are name#2, name#3.
        duration: from when the task first comes here, as a timedelta or in seconds; nothing or less does not wait.

    Raises:
        ValueError: the duration is longer than ten years.
        InvalidContext: called inside a step.
    """
    duration = duration_of(duration, "The duration of a sleep")
    if duration > LONGEST:
        raise ValueError(f"A task sleeps for at most {LONGEST.days:,} days.")
    if (task := body(f"sleep({name!r})")) is not None and duration > timedelta(0):
        written = codec.write({"seconds": duration.total_seconds()})
        task.pause([Pause(kind=StepKind.SLEEP, name=name, delay=duration, input=written)])


def sleep_until(name: str, moment: datetime) -> None:
    """Let the task wait until a time; a past one does not wait. Outside a task it returns at once.

    Raises:
        ValueError: the time has no UTC offset.
        InvalidContext: called inside a step.
    """
    if moment.utcoffset() is None:
        raise ValueError("The time needs a UTC offset, such as 2030-01-31T08:00:00Z.")
    if (task := body(f"sleep_until({name!r})")) is not None:
        written = codec.write({"until": moment.isoformat()})
        task.pause([Pause(kind=StepKind.SLEEP, name=name, until=moment, input=written)])
