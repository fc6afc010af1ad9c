"""A month of data of a large installation: 200 pipelines, tasks in every status, and rows for every other list.

Names, keys, labels and messages are as long as their columns allow, some of them without a possible line break.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from django.contrib.auth.models import Group, User
from django.db import connection
from django.db.models.functions import Now

from demo.seeding import PREFIX, count, seed
from taskqueue.ids import uuid7
from taskqueue.models import (
    BulkOperation,
    ConcurrencyLimit,
    Event,
    Pipeline,
    PipelinePermission,
    RateLimit,
    RateLimitBucket,
    Schedule,
    Skip,
    Task,
    Token,
    Trigger,
    Worker,
)  # fmt: skip
from taskqueue.states import BulkOperationStatus, BulkOperationVerb, SkipKind

PIPELINES, TASKS, ROWS = 200, 3_000, 30
LONG = "reconcile-the-inventory-with-the-suppliers-of-the-northern-region-and-send-what-differs-to-accounting"
SOLID = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08" * 3
SENTENCES = (
    "The supplier's interface answered with a page of HTML instead of JSON, which happens while it is being deployed; "
    "the next attempt is made when its status page says so, and the orders of this hour are kept until then."
)
ERROR = f"HTTPSConnectionPool(host='{SOLID[:60]}.example', port=443): Max retries exceeded. {SENTENCES} {SOLID}\n" * 3

# Every third row has long values. Rows are numbered by their ids.
WORDS = """
UPDATE taskqueue_task SET
    key = CASE number %% 3
        WHEN 0 THEN left(%(long)s || ':' || number, 200) WHEN 1 THEN left(number || %(solid)s, 200) ELSE '' END,
    labels = labels || CASE number %% 4
        WHEN 0 THEN jsonb_build_object('region', %(long)s, 'batch', left(%(solid)s, 64)) ELSE '{}' END,
    error = CASE WHEN error IS NOT NULL AND number %% 2 = 0
        THEN error || jsonb_build_object('type', 'SupplierAnsweredWithSomethingUnexpected', 'message', %(error)s::text)
        ELSE error END,
    progress = CASE WHEN status = 'running' THEN 0.4 END,
    progress_note = CASE WHEN status = 'running' THEN left(%(sentences)s, 200) ELSE '' END,
    cancel_reason = CASE WHEN status = 'cancelled' THEN left(%(sentences)s, 300) ELSE '' END
FROM (SELECT id AS named, row_number() OVER (ORDER BY id) AS number FROM taskqueue_task) AS numbered
WHERE id = named AND pipeline_id LIKE 'seed/%%'
"""


def create_month() -> None:
    """Create all rows and roll them up."""
    for _batch in seed(tasks=TASKS, steps=5, pipelines=pipeline_names()):
        pass
    with connection.cursor() as cursor:
        values = {"long": LONG, "solid": SOLID, "error": ERROR, "sentences": SENTENCES}
        cursor.execute(WORDS, values)
    user = User.objects.create_user("a-service-account-of-the-data-warehouse-with-a-long-name", is_staff=True)
    pipelines = list(Pipeline.objects.filter(name__startswith=PREFIX).order_by("name"))
    create_limits(pipelines)
    create_schedules(pipelines)
    create_events_and_skips(pipelines)
    create_bulk_operations(user)
    create_tokens_and_permissions(pipelines, user)
    create_workers()
    count()


def pipeline_names() -> list[str]:
    """Short names, long names, and long names of one word."""
    shapes = ("{}", "billing-{}", f"{LONG}-{{}}", f"{SOLID[:120]}{{}}")
    return [shapes[number % 4 if number % 16 else 3].format(number) for number in range(PIPELINES)]


def create_limits(pipelines: list[Pipeline]) -> None:
    """Rate limits with and without keys and blocks, and concurrency limits, some of them changed in the admin."""
    rates = [
        RateLimit(
            name=f"{LONG if number % 2 else 'rate'}-{number}",
            key="{customer.account}" if number % 3 == 0 else "",
            declared_count=10_000 + number,
            declared_per=timedelta(hours=1),
            declared_burst=100,
            count=5 if number % 4 == 0 else None,
            changed_at=Now() if number % 4 == 0 else None,
        )
        for number in range(ROWS)
    ]
    RateLimit.objects.bulk_create(rates)
    RateLimitBucket.objects.bulk_create(
        RateLimitBucket(
            rate=rate,
            key=SOLID[: 40 + number] if rate.key else "",
            theoretical_arrival_at=Now() + timedelta(hours=number),
            admitted=10**9,
            last_admitted_at=Now() - timedelta(minutes=number),
            blocked_until=Now() + timedelta(hours=30) if number % 2 else None,
            block_reason=SENTENCES[:300] if number % 2 else "",
        )
        for number, rate in enumerate(rates)
    )
    ConcurrencyLimit.objects.bulk_create(
        ConcurrencyLimit(
            pipeline=pipeline,
            tasks=1_000 if number % 2 else None,
            declared_tasks=20,
            tasks_per_key=3 if number % 5 == 0 else None,
            key="{customer.account.of.the.supplier}" if number % 5 == 0 else "",
            rate=rates[number % ROWS] if number % 3 == 0 else None,
            rate_is_keyed=bool(rates[number % ROWS].key),
        )
        for number, pipeline in enumerate(pipelines)
    )


def create_schedules(pipelines: list[Pipeline]) -> None:
    """Paused pipelines, descriptions, schedules and triggers."""
    Pipeline.objects.filter(name__in=[pipeline.name for pipeline in pipelines[::9]]).update(
        paused_at=Now(), paused_by="a-service-account-of-the-data-warehouse", pause_reason=SENTENCES[:300]
    )
    Pipeline.objects.filter(name__in=[pipeline.name for pipeline in pipelines[::2]]).update(
        description=f"{SENTENCES} {SENTENCES}\n\n{SOLID}"
    )
    Schedule.objects.bulk_create(
        Schedule(
            pipeline=pipeline,
            expression="0,15,30,45 0-6,18-23 1-7,15-21 1,3,5,7,9,11 MON-FRI",
            timezone="America/Argentina/ComodRivadavia",
            misfire="all",
            next_at=Now() + timedelta(hours=7),
            last_at=Now() - timedelta(hours=8),
        )
        for pipeline in pipelines[:ROWS]
    )
    Trigger.objects.bulk_create(Trigger(pipeline=pipeline, event=LONG) for pipeline in pipelines[:ROWS])


def create_events_and_skips(pipelines: list[Pipeline]) -> None:
    """Events with short and long names, routed and not, and skipped requests."""
    tasks = list(Task.objects.filter(pipeline__name__startswith=PREFIX).order_by("-pk")[:ROWS])
    events = Event.objects.bulk_create(
        Event(
            name=(LONG, "order/paid", SOLID[:150])[number % 3],
            data={"title": SENTENCES, SOLID: {"nested": [LONG] * 3}},
            external_id=SOLID[:180] if number % 2 else "",
            source=task if number % 4 == 0 else None,
            routed_at=Now() if number % 5 else None,
        )
        for number, task in enumerate(tasks)
    )
    kinds = list(SkipKind)
    Skip.objects.bulk_create(
        Skip(
            pipeline=pipelines[number],
            kind=kinds[number % len(kinds)],
            reason=f"{SENTENCES} {LONG}" if number % 2 else "The key stands for another task.",
            key=SOLID[:190] if number % 3 else "",
            task=task,
            event=events[number] if number % 2 else None,
        )
        for number, task in enumerate(tasks)
        if kinds[number % len(kinds)] != SkipKind.DEFERRED  # deferred requests would become tasks
    )


def create_bulk_operations(user: User) -> None:
    """A bulk operation for every verb in every status."""
    ends = {BulkOperationStatus.ABORTED, BulkOperationStatus.DONE}
    pairs = [(verb, status) for verb in BulkOperationVerb for status in BulkOperationStatus]
    BulkOperation.objects.bulk_create(
        BulkOperation(
            verb=verb,
            status=status,
            query=f"status=failed&pipeline=seed%2F{LONG}-2&label=region%3D{LONG}",
            selection={},
            reason=SENTENCES[:300],
            user=user,
            started_by=user.username,
            estimate=10_001,
            until=uuid7(),
            position=uuid7(),
            processed=8_000,
            changed=7_000,
            skipped=900,
            failed=100,
            refusals={"the task is now succeeded": 900, SENTENCES: 100},
            started_at=None if status == BulkOperationStatus.PLANNED else Now(),
            finished_at=Now() if status in ends else None,
            aborted_by=user.username if status == BulkOperationStatus.ABORTED else "",
        )
        for verb, status in pairs
    )


def create_tokens_and_permissions(pipelines: list[Pipeline], user: User) -> None:
    """Tokens in every state, and pipeline permissions."""
    year = datetime.now(UTC) + timedelta(days=365)
    Token.objects.bulk_create(
        Token(
            user=user,
            name=(LONG[:100], "nightly-import")[number % 2],
            digest=f"{number:064}",
            prefix=f"tq_{number:08}",
            per_minute=600 if number % 3 else None,
            expires_at=(None, year, Now() - timedelta(days=2))[number % 3],
            last_used_at=Now() if number % 2 else None,
            revoked_at=Now() if number % 4 == 0 else None,
        )
        for number in range(ROWS)
    )
    group = Group.objects.create(name=LONG)
    PipelinePermission.objects.bulk_create(
        PipelinePermission(pipeline=pipeline, run=True, view_payload=bool(number % 2), cancel=True,
                      **({"group": group} if number % 2 else {"user": user}))
        for number, pipeline in enumerate(pipelines[: ROWS // 4])
    )  # fmt: skip


def create_workers() -> None:
    """Workers with long hosts; the tasks that run are in their hands."""
    running = list(Task.objects.filter(status="running")[:20])
    Worker.objects.bulk_create(
        Worker(
            host=f"taskqueue-worker-{SOLID[:32]}-{number}.eu-central-1.compute.internal",
            pid=4_194_304 - number,
            cluster=SOLID[:12],
            version="2026.11.29",
            claim_error=SENTENCES if number % 7 == 0 else "",
            task_id=task.pk,
            step=LONG if number % 2 else "fetch",
            step_started_at=Now() - timedelta(hours=5),
            pipelines=[f"{PREFIX}{LONG}-{each}" for each in range(40)],
            draining_at=Now() if number % 5 == 0 else None,
            heartbeat_at=Now() - (timedelta(hours=3) if number % 6 == 5 else timedelta(0)),
        )
        for number, task in enumerate(running)
    )


def refresh_heartbeats() -> None:
    """Update the heartbeats of live workers."""
    Worker.objects.filter(ended_at=None, heartbeat_at__gt=Now() - timedelta(minutes=2)).update(heartbeat_at=Now())
