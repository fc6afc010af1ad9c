"""What an API costs at the least: DRF views without authentication that insert or read one row."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID, uuid4

from django.db import connection, models
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

CREATE_TABLE: Final = "CREATE TABLE IF NOT EXISTS benchmarks_row (id uuid PRIMARY KEY, payload jsonb NOT NULL)"
READ: Final = "SELECT id, pipeline_id, status, created_at FROM taskqueue_task WHERE id = %s"


def empty_table() -> None:
    """Make the table that bare rows go to, without rows."""
    with connection.cursor() as cursor:
        cursor.execute(CREATE_TABLE)
        cursor.execute("TRUNCATE benchmarks_row")


class Row(models.Model):
    """What the bare view inserts."""

    id = models.UUIDField(primary_key=True, default=uuid4)
    payload = models.JSONField()

    class Meta:
        app_label = "benchmarks"
        db_table = "benchmarks_row"
        managed = False

    def __str__(self) -> str:
        return str(self.pk)


class BareView(APIView):
    """A view without any check of its caller."""

    authentication_classes = ()
    permission_classes = ()


class InsertView(BareView):
    def post(self, request: Request) -> Response:
        """Insert a row with the request's payload, as the ORM does it."""
        data: Any = request.data
        row = Row(payload=data["payload"])
        row.save(force_insert=True)
        return Response({"id": row.pk}, status=202)


class ReadView(BareView):
    def get(self, _request: Request, task_id: UUID) -> Response:
        """Read a task's row by SQL without the ORM."""
        with connection.cursor() as cursor:
            cursor.execute(READ, [task_id])
            row = cursor.fetchone()
        return Response(dict(zip(("id", "pipeline", "status", "created_at"), row, strict=True)))
