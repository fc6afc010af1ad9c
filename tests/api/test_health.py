"""GET /api/health/live and GET /api/health/ready."""

from __future__ import annotations

import pytest
from django.db import OperationalError, connection
from django.db.migrations.recorder import MigrationRecorder

from taskqueue.models import Worker
from taskqueue.testing import InProcessWorker
from tests.support.api import problem_of


def test_a_process_is_live_without_the_database(anonymous, django_assert_num_queries):
    with django_assert_num_queries(0):
        response = anonymous.get("/api/health/live")

    assert (response.status_code, response.json()) == (200, {"status": "ok"})


def test_a_migrated_database_is_enough_to_be_ready(anonymous):
    response = anonymous.get("/api/health/ready")

    assert (response.status_code, response.json()) == (200, {"status": "ready", "workers": 0, "claim_errors": 0})


def test_live_workers_are_counted(anonymous):
    with InProcessWorker():
        assert anonymous.get("/api/health/ready", workers=1).json() == {
            "status": "ready",
            "workers": 1,
            "claim_errors": 0,
        }


def test_readiness_can_require_workers(anonymous):
    response = anonymous.get("/api/health/ready", workers=1)

    assert problem_of(response) == (503, "not-ready", ["/workers"])


def test_a_worker_with_a_claim_error_does_not_count_as_ready(anonymous):
    with InProcessWorker() as worker:
        Worker.objects.filter(pk=worker.row.pk).update(claim_error="permission denied for table taskqueue_task")

        assert anonymous.get("/api/health/ready").json() == {"status": "ready", "workers": 0, "claim_errors": 1}
        response = anonymous.get("/api/health/ready", workers=1)

    assert problem_of(response) == (503, "not-ready", ["/workers"])
    assert response.json()["detail"] == (
        "0 live and 1 that cannot claim, 1 needed. See why under Workers in the admin."
    )


def test_a_migration_that_is_not_applied_is_named(anonymous):
    MigrationRecorder.Migration.objects.filter(app="taskqueue").order_by("-name")[0].delete()

    response = anonymous.get("/api/health/ready")

    assert problem_of(response) == (503, "not-ready", ["/migrations"])
    assert "taskqueue.0" in response.json()["detail"]


def test_a_database_that_does_not_answer_is_named(anonymous):
    def refuse(*_arguments: object) -> None:
        raise OperationalError("connection refused")

    with connection.execute_wrapper(refuse):
        response = anonymous.get("/api/health/ready")

    assert problem_of(response) == (503, "not-ready", ["/database"])
    assert "refused" not in response.json()["detail"]


def test_a_read_only_database_is_named(anonymous):
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL transaction_read_only = on")

    response = anonymous.get("/api/health/ready")

    assert problem_of(response) == (503, "not-ready", ["/database"])
    assert "read-only" in response.json()["detail"]


@pytest.mark.parametrize("workers", ["-1", "all", "10001"])
def test_an_invalid_number_of_workers_is_refused(anonymous, workers):
    assert problem_of(anonymous.get("/api/health/ready", workers=workers)) == (400, "invalid-query", ["/workers"])


def test_readiness_can_require_workers_of_a_queue(anonymous):
    with InProcessWorker(queues="mail"), InProcessWorker(not_queues="mail,gpu"):
        assert anonymous.get("/api/health/ready", workers=1, queue="mail").json()["workers"] == 1
        assert anonymous.get("/api/health/ready", workers=1, queue="reports").json()["workers"] == 1
        response = anonymous.get("/api/health/ready", workers=1, queue="gpu")

    assert problem_of(response) == (503, "not-ready", ["/workers"])
    assert response.json()["detail"] == "0 live, 1 needed for queue gpu. Start manage.py worker."
    assert problem_of(anonymous.get("/api/health/ready", queue="a b")) == (400, "invalid-query", ["/queue"])
