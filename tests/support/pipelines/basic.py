"""Pipelines that the engine's tests run, and the record of their calls."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import Group

from taskqueue import Permanent, Retry, RetryAfter, StepFailed, pipeline, step

calls: list[str] = []
"""Each call of a step of this module, in order; emptied before each test."""

broken: Counter[str] = Counter()
"""How many more times a step of this name fails."""

SOON = Retry.fixed(timedelta(seconds=10), retries=2)


def note(name: str) -> None:
    """Record a call, and fail if the test asks for it."""
    calls.append(name)
    if broken[name]:
        broken[name] -= 1
        raise ConnectionError(f"{name} is broken")


@step
def one(number: int) -> int:
    note("one")
    return number + 1


@step
def two(number: int) -> int:
    note("two")
    return number * 2


@step(retry=SOON)
def three(number: int) -> int:
    note("three")
    return number - 3


@pipeline("engine/three-steps")
def three_steps(number: int) -> int:
    return three(two(one(number)))


@pipeline("engine/one-step")
def one_step(number: int) -> int:
    return one(number)


@step
def fall_back(number: int) -> int:
    note("fall_back")
    return -number


@pipeline("engine/compensating")
def compensating(number: int) -> int:
    try:
        return three(number)
    except StepFailed:
        return fall_back(number)


@step.atomic
def create_group(name: str) -> int:
    note("create_group")
    group = Group.objects.create(name=name)
    note("after_create_group")
    return group.pk


@pipeline("engine/atomic")
def atomic_pipeline(name: str) -> int:
    return create_group(name)


@pipeline("engine/broken-body", retry=SOON)
def broken_body(number: int) -> int:
    result = one(number)
    note("body")
    return result


@step
def declined() -> None:
    note("declined")
    raise Permanent("card declined")


@step(retry=SOON)
def overloaded() -> None:
    note("overloaded")
    raise RetryAfter(timedelta(hours=1), "too many requests")


@pipeline("engine/declined")
def declined_pipeline() -> None:
    declined()


@pipeline("engine/overloaded")
def overloaded_pipeline() -> None:
    overloaded()


@step
def in_the_middle() -> Any:
    """Call the test's function in the middle of a step."""
    note("in_the_middle")
    return during_step()


def during_step() -> Any: ...


@pipeline("engine/interrupted")
def interrupted() -> None:
    one(1)
    in_the_middle()
    two(2)
