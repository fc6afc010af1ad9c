"""Tasks of a module that is not imported at start: they have no pipeline of their own."""

from taskqueue import Retry
from taskqueue.django_tasks import task_options
from tests.support.django_tasks.framework import task


@task(takes_context=True, queue_name="mail")
@task_options(retry=Retry.never())
def by_path(context, number):
    return [context.attempt, number]


@task
async def by_path_async(number):
    return number


@task
@task_options(concurrency=1)
def limited_by_path():
    """Cannot be enqueued: only a pipeline of its own would have the limit."""


@task
def unnamed():
    """Has another name than its function."""


renamed = unnamed
del unnamed
