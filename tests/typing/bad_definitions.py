"""Wrong definitions are type errors: each marked line is an error, and no other line."""

from __future__ import annotations

from datetime import timedelta

from taskqueue import Batch, Debounce, Retry, Singleton, pipeline, step


@step(timeout="30")  # error: [call-overload, untyped-decorator]
def too_short() -> None: ...


@step(retry=3)  # error: [call-overload, untyped-decorator]
def too_often() -> None: ...


@step(nome="charge")  # error: [call-overload, untyped-decorator]
def misspelt() -> None: ...


@pipeline  # error: [arg-type]
def nameless() -> None: ...


@pipeline("shop/fulfil", retry=timedelta(seconds=3))  # error: [arg-type]
def fulfil() -> None: ...


@pipeline("shop/index", debounce=timedelta(seconds=3))  # error: [arg-type]
def index() -> None: ...


@pipeline("shop/report", misfire="never", cron="0 3 * * *")  # error: [arg-type]
def report() -> None: ...


@pipeline("shop/mail", queue=["mail"])  # error: [arg-type]
def mail() -> None: ...


@pipeline("shop/clean", corn="0 3 * * *")  # error: [call-arg]
def clean() -> None: ...


Singleton(mode="replace")  # error: [arg-type]
Singleton("{tenant}")  # error: [call-arg]
Batch(10, timedelta(minutes=1))  # error: [call-arg]
Debounce("3")  # error: [arg-type]
Retry(waits=[timedelta(seconds=1)])  # error: [arg-type]
Retry(waits=("1", "2"))  # error: [arg-type]
Retry(give_up_on=ValueError)  # error: [arg-type]
Retry.fixed("3", retries=2)  # error: [arg-type]
Retry.exponential(timedelta(seconds=1), 2)  # error: [call-arg]
