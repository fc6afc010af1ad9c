"""Health checks for supervisors and load balancers. They need no login."""

from __future__ import annotations

from typing import Any

from django.db import Error, connection
from django.db.migrations.executor import MigrationExecutor
from django.db.models import Q
from pydantic import Field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from taskqueue.api.openapi.operations import operation
from taskqueue.api.parameters import Query
from taskqueue.api.problems import Kind, Refusal
from taskqueue.api.views import ApiView
from taskqueue.engine.runtime.outages import outage_log
from taskqueue.engine.runtime.queue_workers import workers_of
from taskqueue.engine.worker.heartbeat import live_workers, workers_with_claim_errors
from taskqueue.errors import FieldError
from taskqueue.queues import QUEUE_NAME, QUEUE_NAME_MAX


class Alive(serializers.Serializer[Any]):
    """The web process is up."""

    status = serializers.CharField(help_text="`ok`.")


class Ready(serializers.Serializer[Any]):
    """The service can take tasks."""

    status = serializers.CharField(help_text="`ready`.")
    workers = serializers.IntegerField(help_text="Live worker processes that can claim.")
    claim_errors = serializers.IntegerField(help_text="Live worker processes whose claims fail.")


class ReadyQuery(Query):
    """What is required to be ready."""

    workers: int = Field(default=0, ge=0, le=10_000, description="Live worker processes that are required.")
    queue: str = Field(
        default="",
        max_length=QUEUE_NAME_MAX,
        pattern=f"^({QUEUE_NAME.pattern})?$",
        description="Count only workers that take this queue.",
    )


class LivenessView(ApiView):
    authentication_classes = ()
    permission_classes = ()

    @operation(
        "isLive",
        "Check that the web process is up",
        "Does not use the database: restarting this process would not repair it.",
        tag="health",
        success={200: (Alive, "The process is up.")},
        never=(503,),
    )
    def get(self, request: Request) -> Response:
        return Response(Alive({"status": "ok"}).data)


class ReadinessView(ApiView):
    authentication_classes = ()
    permission_classes = ()

    @operation(
        "isReady",
        "Check that the service can accept tasks",
        "Ready means that the database answers, is writable and has all migrations. Workers are only required with "
        "`workers`, because tasks are accepted without one.",
        tag="health",
        success={200: (Ready, "The service is ready.")},
        query=ReadyQuery,
    )
    def get(self, request: Request) -> Response:
        query = ReadyQuery.of(request.query_params)
        claiming, failing = checked_workers(query.workers, query.queue)
        return Response(Ready({"status": "ready", "workers": claiming, "claim_errors": failing}).data)


def checked_workers(required: int, queue: str) -> tuple[int, int]:
    """How many live workers can claim, and how many cannot; with a queue, of those that take it.

    Raises:
        Refusal: with a pointer to what is missing.
    """
    try:
        if pending := pending_migrations():
            raise not_ready("/migrations", f"Not applied: {', '.join(pending)}. Run manage.py migrate.")
        if is_read_only():
            raise not_ready("/database", "The database is read-only: tasks can be neither accepted nor executed.")
        takers = workers_of(queue) if queue else Q()
        failing = workers_with_claim_errors().filter(takers).count()
        claiming = live_workers().filter(takers).count() - failing
    except Error as error:
        outage_log.begin(error)
        raise not_ready("/database", "The database does not answer.") from error
    if claiming < required:
        remedy = "See why under Workers in the admin." if failing else "Start manage.py worker."
        others = f" and {failing} that cannot claim" if failing else ""
        of_queue = f" for queue {queue}" if queue else ""
        raise not_ready("/workers", f"{claiming} live{others}, {required} needed{of_queue}. {remedy}")
    return claiming, failing


def pending_migrations() -> list[str]:
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    return [f"{migration.app_label}.{migration.name}" for migration, _backwards in plan]


def is_read_only() -> bool:
    """Whether the database accepts no writes: a standby, or one that was set to read-only."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('transaction_read_only') = 'on'")
        return bool(cursor.fetchone()[0])


def not_ready(pointer: str, detail: str) -> Refusal:
    return Refusal(Kind.NOT_READY, detail, [FieldError(pointer, detail)])
