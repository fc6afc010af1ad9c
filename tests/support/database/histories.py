"""Create old history, and prune it without the pace."""

from __future__ import annotations

from datetime import timedelta

from django.db.models import Case, Q, When
from django.db.models.functions import Now

from taskqueue.engine.maintenance import retention
from taskqueue.models import Pruning, Task
from taskqueue.models.pruning import NO_PIPELINE, PACE_LOCK, RATE_BUCKETS
from tests.support.database.backlogs import unchecked


def prune():
    """Prune all that is due, without the pace. Pipelines without tasks are left out."""
    has_rows = Q(name__in=Task.objects.values("pipeline_id")) | Q(name__in=[NO_PIPELINE, RATE_BUCKETS])
    Pruning.objects.update(due_at=Case(When(has_rows, then=Now()), default=Now() + timedelta(hours=1)))
    while Pruning.objects.exclude(name=PACE_LOCK).filter(due_at__lte=Now()).exists():
        Pruning.objects.filter(name=PACE_LOCK).update(due_at=Now())
        retention.prune_some()


def history(number, *, pipeline="engine/one-step", days=31, steps=1):
    """Insert tasks that ended some days ago, with steps."""
    with unchecked() as cursor:
        cursor.execute(
            """
            WITH tasks AS (
                INSERT INTO taskqueue_task (id, pipeline_id, status, key, labels, priority, payload, due_at, sort_at,
                    lease, failures, progress_note, created_at, started_at, finished_at)
                SELECT (lpad(to_hex((extract(epoch FROM past) * 1000)::bigint), 12, '0')
                    || substr(replace(gen_random_uuid()::text, '-', ''), 13))::uuid,
                    %(pipeline)s, 'succeeded', '', '{}', 0, '{}', past, past, 1, 0, '',
                    past, past, past
                FROM generate_series(1, %(number)s), (SELECT now() - make_interval(days => %(days)s) AS past) AS p
                RETURNING id, finished_at
            )
            INSERT INTO taskqueue_step (task_id, key, name, kind, status, failures, input_hash, started_at, finished_at)
            SELECT id, 'one#' || step, 'one', 'step', 'succeeded', 0, '', finished_at, finished_at
            FROM tasks, generate_series(1, %(steps)s) step
            """,
            {"number": number, "pipeline": pipeline, "days": days, "steps": steps},
        )
