"""Create a long history of tasks, as months of work would, with SQL alone.

The pipelines begin with `seed/`. No code defines them, so no worker runs their queued tasks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models.functions import Now

from taskqueue.engine.maintenance.rollups import recount, roll_up_window
from taskqueue.models import Pipeline, PipelineStep, Task, Worker

PREFIX = "seed/"
PIPELINES = ("order-fulfilment", "invoice-pdf", "image-resize", "crm-sync", "webhook-delivery", "nightly-report")
STEPS = ("fetch", "check", "render", "charge-card", "upload", "notify", "record", "clean-up")
EXAMPLE = "Example data, made by manage.py seed. No code defines this pipeline, so no worker runs its tasks."
CHUNK = 50_000
DAYS = 30

# Number 1 is the oldest task. The load grows towards now with a wave per day, and unfinished tasks are among the
# last two per cent. An id begins with its time, like the ids of the service.
CREATE_SEEDED = """
CREATE TEMPORARY TABLE seeded (
    id uuid, status text, started_at timestamptz, worker_id int, dice int, reached int, length interval
) ON COMMIT DROP
"""

INSERT_TASKS = """
WITH numbered AS MATERIALIZED (
    SELECT number, random() AS dice, random() AS other,
        now() - interval '1 second' - interval '1 day' * (
            %(days)s * (1 - number::float / %(total)s) ^ 2
            + 0.1 * (1 + sin(number::float * 60 / %(total)s)) * (1 - number::float / %(total)s)
        ) AS created_at
    FROM generate_series(%(first)s::int, %(last)s::int) AS number
), assigned AS (
    SELECT numbered.*,
        (%(pipelines)s::text[])[least(1 + floor(sqrt(random()) * %(pipelines_length)s)::int, %(pipelines_length)s)]
            AS pipeline,
        CASE
            WHEN number > %(total)s * 0.98 AND dice < 0.55
                THEN (ARRAY['queued', 'queued', 'scheduled', 'waiting', 'retrying', 'queued'])[1 + number %% 6]
            WHEN number > %(total)s - 20 AND dice > 0.8 THEN 'running'
            WHEN other < 0.035 THEN 'failed'
            WHEN other < 0.047 THEN 'cancelled'
            ELSE 'succeeded'
        END AS status
    FROM numbered
), timed AS (
    SELECT assigned.*, gen_random_uuid() AS chance,
        CASE WHEN status NOT IN ('queued', 'scheduled')
            THEN least(created_at + interval '1 second' * (0.02 + dice ^ 2 * 9), now()) END AS started_at,
        CASE WHEN status IN ('succeeded', 'failed', 'cancelled')
            THEN least(created_at + interval '1 second' * (0.5 + dice ^ 2 * 9 + (dice * 7) ^ 3), now())
        END AS finished_at,
        CASE status
            WHEN 'scheduled' THEN now() + interval '1 hour' * (1 + dice * 40)
            WHEN 'retrying' THEN now() + interval '1 minute' * (1 + dice * 90)
            WHEN 'waiting' THEN now() + interval '1 day' * (1 + dice)
            ELSE created_at
        END AS due_at,
        1 + number %% 5 AS kind,
        CASE status WHEN 'succeeded' THEN %(steps)s::int ELSE least(%(steps)s::int, 1 + number %% 4) END AS reached
    FROM assigned
), made AS (
    INSERT INTO taskqueue_task (
        id, pipeline_id, status, key, labels, priority, payload, result, error, due_at, sort_at, lease, failures,
        progress_note, created_at, started_at, finished_at, worker_id
    )
    SELECT
        (lpad(to_hex((extract(epoch FROM created_at) * 1000)::bigint), 12, '0') || '7' || substr(chance::text, 16, 3)
            || substr(chance::text, 20, 4) || substr(chance::text, 25))::uuid,
        pipeline, status, CASE WHEN number %% 3 = 0 THEN '' ELSE 'order:' || number END,
        jsonb_build_object('tenant', (ARRAY['acme', 'globex', 'initech', 'umbrella'])[1 + number %% 4]), 0,
        jsonb_build_object(
            'order', jsonb_build_object('id', number, 'total', round((dice * 900)::numeric, 2)),
            'customer', md5(number::text)
        ),
        CASE WHEN status = 'succeeded' THEN jsonb_build_object('ok', true, 'bytes', (dice * 90000)::int) END,
        CASE WHEN status = 'failed' THEN jsonb_build_object(
            'type', (%(errors)s::text[])[kind], 'step', (%(names)s::text[])[reached],
            'message', (%(messages)s::text[])[kind]
        ) END,
        due_at, due_at, 1, 0, '', created_at, started_at, finished_at,
        CASE WHEN started_at IS NOT NULL THEN (%(workers)s::int[])[1 + number %% 4] END
    FROM timed ORDER BY number
    RETURNING id, status, started_at, finished_at, worker_id, key, payload
)
INSERT INTO seeded
SELECT made.id, made.status, made.started_at, made.worker_id, timed.number, timed.reached,
    least(
        (coalesce(made.finished_at, now()) - made.started_at) / timed.reached, interval '30 seconds'
    )
FROM made JOIN timed ON timed.number = (made.payload #>> '{order,id}')::int
WHERE made.started_at IS NOT NULL
"""

INSERT_STEPS = """
INSERT INTO taskqueue_step (
    task_id, key, name, kind, status, failures, input, input_hash, output, error, started_at, finished_at
)
SELECT seeded.id, named.name, named.name, 'step', named.status,
    CASE WHEN named.status = 'succeeded' THEN 0 ELSE 1 + dice %% 3 END, jsonb_build_array(dice), md5(dice::text),
    CASE WHEN named.status = 'succeeded' THEN jsonb_build_object('rows', dice %% 1000) END,
    CASE WHEN named.status <> 'succeeded' THEN jsonb_build_object(
        'type', (%(errors)s::text[])[1 + dice %% 5], 'message', (%(messages)s::text[])[1 + dice %% 5]) END,
    seeded.started_at + seeded.length * (number - 1), seeded.started_at + seeded.length * number
FROM seeded CROSS JOIN LATERAL generate_series(1, seeded.reached) AS number CROSS JOIN LATERAL (
    SELECT (%(names)s::text[])[number] AS name,
        CASE WHEN number = seeded.reached AND seeded.status IN ('failed', 'retrying') THEN seeded.status
            ELSE 'succeeded' END AS status
) AS named
WHERE number < seeded.reached OR seeded.status IN ('succeeded', 'failed', 'retrying')
"""

INSERT_ATTEMPTS = """
INSERT INTO taskqueue_attempt (
    task_id, step_key, number, outcome, error_type, error_message, traceback, worker_id, lease, started_at, finished_at
)
SELECT seeded.id, (%(names)s::text[])[seeded.reached], number, 'failed', (%(errors)s::text[])[1 + dice %% 5],
    (%(messages)s::text[])[1 + dice %% 5], (%(tracebacks)s::text[])[1 + dice %% 5], seeded.worker_id, 1,
    seeded.started_at + seeded.length * (reached - 1 + (number - 1) / 4.0),
    seeded.started_at + seeded.length * (reached - 1 + number / 4.0)
FROM seeded CROSS JOIN LATERAL generate_series(1, 1 + dice %% 3) AS number
WHERE seeded.status IN ('failed', 'retrying') OR seeded.status = 'succeeded' AND dice %% 25 = 0
"""

ERRORS = {
    "ConnectionError": "hooks.acme.example refused the connection",
    "CardDeclined": "Your card has insufficient funds (code=51)",
    "MemoryError": "wkhtmltopdf exceeded 512 MiB",
    "TimeoutError": "No answer within 30 s",
    "ValidationError": "1 validation error for Order: total must not be negative",
}


TRACEBACK = """Traceback (most recent call last):
  File "/srv/shop/orders/pipelines.py", line 48, in process
    return client.send(order)
           ^^^^^^^^^^^^^^^^^^
  File "/srv/shop/orders/client.py", line 112, in send
    raise {name}({message!r})
{name}: {message}
"""


def traceback_of(name: str, message: str) -> str:
    return TRACEBACK.format(name=name, message=message)


def count() -> None:
    """Count the ended tasks for the overview, including those from before its counting began."""
    first = Task.objects.filter(finished_at__isnull=False).order_by("finished_at").first()
    if first is not None and first.finished_at is not None:
        recount(first.finished_at)
    while roll_up_window():
        pass


def seed(*, tasks: int, steps: int, pipelines: Sequence[str] = PIPELINES) -> Iterator[int]:
    """Create so many tasks with so many steps each, of these pipelines. Yields the number of tasks after each chunk."""
    names = create_pipelines(pipelines, steps)
    values: dict[str, Any] = {
        "total": tasks,
        "days": DAYS,
        "steps": steps,
        "workers": create_workers(),
        "names": list(STEPS[:steps]),
        "pipelines": names,
        "pipelines_length": len(names),
        "errors": list(ERRORS),
        "messages": list(ERRORS.values()),
        "tracebacks": [traceback_of(name, message) for name, message in ERRORS.items()],
    }
    for first in range(1, tasks + 1, CHUNK):
        last = min(first + CHUNK - 1, tasks)
        insert_chunk({**values, "first": first, "last": last})
        yield last
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE taskqueue_task, taskqueue_step, taskqueue_attempt")


def insert_chunk(values: dict[str, Any]) -> None:
    """Insert one chunk: its tasks, their steps and failed attempts."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(CREATE_SEEDED)
        for statement in (INSERT_TASKS, INSERT_STEPS, INSERT_ATTEMPTS):
            cursor.execute(statement, values)
        cursor.execute("DROP TABLE seeded")  # an outer transaction may continue


def create_pipelines(pipelines: Sequence[str], steps: int) -> list[str]:
    """Create the pipelines with their steps. Returns their names."""
    names = [PREFIX + name for name in pipelines]
    Pipeline.objects.bulk_create(
        [Pipeline(name=name, description=EXAMPLE) for name in names],
        update_conflicts=True, unique_fields=["name"], update_fields=["description"],
    )  # fmt: skip
    PipelineStep.objects.bulk_create(
        [
            PipelineStep(pipeline_id=name, name=step, position=position)
            for name in names
            for position, step in enumerate(STEPS[:steps])
        ],
        ignore_conflicts=True,
    )
    return names


def create_workers() -> list[int]:
    """Create four workers that have ended. Returns their ids."""
    month = {"started_at": Now() - timedelta(days=DAYS + 1), "heartbeat_at": Now(), "ended_at": Now()}
    workers = [
        Worker(host=f"seed-{number}", pid=100 + number, cluster="seed", version="seed", end_reason="seeded", **month)
        for number in range(4)
    ]
    return [worker.pk for worker in Worker.objects.bulk_create(workers)]
