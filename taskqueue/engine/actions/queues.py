"""Move a pipeline to another queue while workers run. The next claim acts on it; tasks that are executing stay."""

from __future__ import annotations

from django.db import transaction

from taskqueue.engine.access.actor import SYSTEM, Actor
from taskqueue.engine.runtime.notify import notify_on_commit
from taskqueue.errors import FieldError, InvalidQueue, UnknownPipeline
from taskqueue.models import Pipeline
from taskqueue.queues import QUEUE_NAME_RULE, is_queue_name


def move_pipeline(name: str, queue: str, *, actor: Actor = SYSTEM) -> Pipeline:
    """Set the queue of a pipeline, which replaces the code's until it is set back.

    Args:
        name: the pipeline.
        queue: its queue; empty for the queue in the code.
        actor: named in the audit entry. Without a change there is none.

    Raises:
        UnknownPipeline
        InvalidQueue: a queue cannot be called that.
    """
    check_queue(queue)
    with transaction.atomic():
        pipeline = (
            Pipeline.objects.select_for_update(no_key=True).filter(pk=name).only("queue", "declared_queue").first()
        )
        if pipeline is None:
            raise UnknownPipeline(f"No pipeline is called {name!r}.")
        if pipeline.queue != queue:
            before = pipeline.effective_queue
            Pipeline.objects.filter(pk=name).update(queue=queue)
            pipeline.queue = queue
            notify_on_commit()  # workers of the new queue claim what is due
            actor.record(pipeline, move_message(before, pipeline))
    return pipeline


def check_queue(queue: str) -> None:
    """Check the queue that a user wants; empty for the code's.

    Raises:
        InvalidQueue
    """
    if queue and not is_queue_name(queue):
        detail = f"A queue cannot be called {queue!r}. {QUEUE_NAME_RULE}"
        raise InvalidQueue(detail, [FieldError("/queue", detail)])


def move_message(before: str, pipeline: Pipeline) -> str:
    to = pipeline.queue or f"{pipeline.declared_queue}, the queue in code"
    return f"Moved from queue {before} to {to}."
