"""Open questions are found by their index, among many waits that are none or have ended."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User

from taskqueue.engine.access.answering import open_questions
from taskqueue.engine.access.permissions import CallerPermissions
from taskqueue.engine.runtime.liveness import HEARTBEAT_TIMEOUT
from taskqueue.engine.sql.history import stats
from taskqueue.testing import work
from tests.support.database.backlogs import STATISTICS, forget_statistics, rolled_back, unchecked
from tests.support.database.plans import explain, rows_read, sequential_scans
from tests.support.pipelines.refunds import refund

pytestmark = pytest.mark.django_db

MANY_WAITS = """
INSERT INTO taskqueue_wait (task_id, step_key, position, event, match, fields, digest, created_at, outcome, assignees)
SELECT %s, 'w' || n, 0, 'plans/go', '{}', '', '', now(), CASE WHEN n %% 2 = 0 THEN '' ELSE 'answer' END,
    CASE WHEN n %% 2 = 0 THEN NULL ELSE ARRAY['anna'] END
FROM generate_series(1, 20000) n
"""


@pytest.fixture(scope="module", params=STATISTICS)
def question(request, module_transaction):
    """One open question, among 10,000 that are answered and 10,000 open waits for events."""
    with rolled_back():
        forget_statistics()
        task = refund.enqueue(7)
        work()
        with unchecked() as cursor:
            cursor.execute(MANY_WAITS, [task.pk])
            if request.param:
                cursor.execute("ANALYZE taskqueue_wait, taskqueue_task")
        yield task


def test_the_badge_looks_for_a_question_by_its_index(question):
    plan = explain(stats.BADGES, {"heartbeat_timeout": HEARTBEAT_TIMEOUT})

    assert "taskqueue_wait" not in sequential_scans(plan)
    assert rows_read(plan, "taskqueue_wait") <= 2


def test_a_users_questions_are_found_by_their_index(question):
    user = User.objects.create_user("anna")
    query, values = open_questions(CallerPermissions(user)).order_by("-id")[:51].query.sql_with_params()

    plan = explain(query, values)

    assert "taskqueue_wait" not in sequential_scans(plan)
    assert rows_read(plan, "taskqueue_wait") <= 2
