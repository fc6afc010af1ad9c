"""Wrong definitions are found by the type checker: each marked line is an error, and nothing else is."""

from __future__ import annotations

from datetime import timedelta

from taskqueue import Retry, pipeline, step


@step(timeout=30)  # error: [call-overload, untyped-decorator]
def too_short() -> None: ...


@step(retry=3)  # error: [call-overload, untyped-decorator]
def too_often() -> None: ...


@step(nome="charge")  # error: [call-overload, untyped-decorator]
def misspelt() -> None: ...


@pipeline  # error: [arg-type]
def nameless() -> None: ...


@pipeline("shop/fulfil", retry=timedelta(seconds=3))  # error: [arg-type]
def fulfil() -> None: ...


Retry(waits=[timedelta(seconds=1)])  # error: [arg-type]
Retry(waits=(1, 2))  # error: [arg-type]
Retry(give_up_on=ValueError)  # error: [arg-type]
Retry.fixed(3, retries=2)  # error: [arg-type]
Retry.exponential(timedelta(seconds=1), 2)  # error: [call-arg]
