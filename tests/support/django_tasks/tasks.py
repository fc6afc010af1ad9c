"""Tasks that have pipelines of their own."""

import logging
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from taskqueue import Limit, Permanent, Retry, current_task
from taskqueue.django_tasks import task_options
from taskqueue.models import Pipeline
from tests.support.django_tasks.framework import task

calls: list[Any] = []
AT_ONCE = Retry.fixed(timedelta(0), retries=2)


class OutOfStock(Exception):
    """An exception of the project's own."""

    class Reserved(Exception):
        """One with a nested name."""


@task
def bare(*args, **kwargs):
    """Does nothing.

    In two paragraphs.
    """


@task(priority=5, queue_name="mail")
def mail(subject):
    return f"sent {subject}"


@task()
def add(left, right=1):
    calls.append((left, right))
    return left + right


@task()
async def add_async(left, right=1):
    calls.append((left, right))
    return left + right


@task()
def echo(value):
    return value


@task()
def repeat(code):
    """A text of 600 characters with this code: 600 bytes, or more."""
    return chr(code) * 600


@task(takes_context=True)
def with_context(context, number):
    result = context.task_result
    return [context.attempt, result.id, str(result.status), result.args, result.task.name, number]


@task(takes_context=True)
async def with_context_async(context):
    return [context.attempt, context.task_result.id]


@task
@task_options(retry=Retry.never())
def fail(kind):
    kinds = {"value": ValueError, "own": OutOfStock, "nested": OutOfStock.Reserved, "exit": SystemExit}
    raise kinds[kind](f"no {kind}")


@task
@task_options(retry=Retry.never())
async def fail_async():
    raise OutOfStock("no async")


@task(takes_context=True)
@task_options(retry=AT_ONCE)
def fail_twice(context):
    calls.append(context.attempt)
    if context.attempt < 3:
        raise OutOfStock(f"attempt {context.attempt}")
    return context.attempt


@task
@task_options(retry=AT_ONCE)
def give_up():
    calls.append("give up")
    raise Permanent("for ever")


@task
@task_options(retry=AT_ONCE)
def not_json():
    calls.append("not json")
    return timedelta(0)


@task
@task_options(atomic=True, retry=AT_ONCE, timeout=60)
def rename_atomically(name, to):
    Pipeline.objects.filter(pk=name).update(description=to)
    if current_task().attempt == 1:
        raise OutOfStock("rolled back")


@task
@task_options(concurrency=[Limit(1), Limit(1, key="{kwargs.customer}")], cron="0 3 * * *")
def limited(customer=0):
    logging.getLogger("shop").warning("customer %s", customer)
    return customer


@task
@task_options(timeout=0.1, retry=Retry.never())
def too_slow():
    time.sleep(60)


@task
def enqueue_another():
    return add.enqueue(20, 3).id


@task(takes_context=True)
def wait_for_file(context, folder):
    """Note the attempt that began, and wait until the test releases it."""
    with (Path(folder) / "began").open("a") as file:
        file.write(f"{context.attempt}\n")
    while not (Path(folder) / "released").exists():
        time.sleep(0.02)
    return "released"
