"""Submit tasks, with an audit entry where the caller overrides a rule or is an operator."""

from __future__ import annotations

from collections.abc import Sequence

from django.db import transaction

from taskqueue.engine.access.actor import Actor
from taskqueue.engine.actions.callbacks import set_callback
from taskqueue.engine.enqueue import bulk
from taskqueue.engine.enqueue.bulk import Request
from taskqueue.engine.enqueue.enqueue import enqueue
from taskqueue.engine.enqueue.options import Options
from taskqueue.engine.runtime.locks import retry_deadlocks
from taskqueue.models import Task


def submit(pipeline: str, payload: object, *, options: Options, actor: Actor, message: str = "") -> Task:
    """Submit a task. A forced task, or one with a message, gets an audit entry.

    Raises:
        UnknownPipeline, InvalidPayload, InvalidOptions, NotSerializable, TooLarge, KeyReused: as `enqueue` does.
    """
    if options.force:
        message = f"{message} {force_message(options)}".strip()
    if not message and not options.callback_url:
        return enqueue(pipeline, payload, options=options)
    with transaction.atomic():
        task = enqueue(pipeline, payload, options=options)
        set_callback(task, options.callback_url)
        if message and not task.duplicate:
            actor.record(task, message, added=True)
    return task


def submit_many(requests: Sequence[Request], *, actor: Actor) -> list[Task]:
    """Submit all of these tasks in one transaction, or none of them; forced tasks get an audit entry.

    Returns:
        The tasks in the order of the requests, each as `submit` returns it.

    Raises:
        BatchRefused: with the error of each invalid request.
    """
    prepared = bulk.check_all(requests)

    def insert_all() -> list[Task]:
        with transaction.atomic():
            tasks = bulk.enqueue_all(prepared)
            for request, task in zip(requests, tasks, strict=True):
                set_callback(task, request.options.callback_url)
                if request.options.force and not task.duplicate:
                    actor.record(task, force_message(request.options), added=True)
        return tasks

    return retry_deadlocks(insert_all)


def force_message(options: Options) -> str:
    return f"Forced, with key {options.key}." if options.key else "Forced."
