"""Health: for those who start, stop and route to this service. Open to everyone, for they have no login."""

from __future__ import annotations

from django.db import Error, connection
from django.db.migrations.executor import MigrationExecutor
from rest_framework.request import Request
from rest_framework.response import Response

from taskqueue.api.health_serializers import Alive, Ready
from taskqueue.api.openapi import operations
from taskqueue.api.parameters import ReadyQuery
from taskqueue.api.problems import NotReady
from taskqueue.api.views import Door, described
from taskqueue.engine.runtime.outages import outage
from taskqueue.engine.worker.heartbeat import live_workers, unable_workers
from taskqueue.errors import FieldError


class Live(Door):
    """Whether the web process is up."""

    authentication_classes = ()
    permission_classes = ()

    @described(operations.HEALTH_LIVE)
    def get(self, request: Request) -> Response:
        """It is, or there would be no answer. The database is not asked: restarting this process would not mend it."""
        return Response(Alive({"status": "ok"}).data)


class Readiness(Door):
    """Whether the service can do its work."""

    authentication_classes = ()
    permission_classes = ()

    @described(operations.HEALTH_READY)
    def get(self, request: Request) -> Response:
        """Ready with a reachable database whose migrations are applied. Tasks can be taken in without any worker."""
        query: ReadyQuery = ReadyQuery.of(request.query_params)
        able, unable = counted_workers(query.workers)
        return Response(Ready({"status": "ready", "workers": able, "claim_errors": unable}).data)


def counted_workers(needed: int) -> tuple[int, int]:
    """How many workers live and can claim, and how many live and cannot.

    Raises:
        NotReady: naming what is missing.
    """
    try:
        if pending := pending_migrations():
            raise missing("/migrations", f"Not applied: {', '.join(pending)}. Run manage.py migrate.")
        if is_read_only():
            raise missing("/database", "The database is read-only: no task can be taken in or executed.")
        unable = unable_workers().count()
        able = live_workers().count() - unable
    except Error as error:
        outage.begin(error)
        raise missing("/database", "The database does not answer.") from error
    if able < needed:
        remedy = "See why under Workers in the admin." if unable else "Start manage.py worker."
        others = f" and {unable} that cannot claim" if unable else ""
        raise missing("/workers", f"{able} live{others}, {needed} needed. {remedy}")
    return able, unable


def pending_migrations() -> list[str]:
    """Migrations of the installed code that the database has not seen."""
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    return [f"{migration.app_label}.{migration.name}" for migration, _backwards in plan]


def is_read_only() -> bool:
    """Whether the database takes nothing in: a standby, or one that was set so."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('transaction_read_only') = 'on'")
        return bool(cursor.fetchone()[0])


def missing(pointer: str, detail: str) -> NotReady:
    """The refusal that names what is missing."""
    return NotReady(detail, [FieldError(pointer, detail)])
