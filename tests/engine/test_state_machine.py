"""The engine's guarantees hold after each event of random sequences."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import connection, transaction
from django.db.models import Count
from django.db.models.functions import Now
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from taskqueue import Limit, Retry, pipeline, sleep, step, wait_for
from taskqueue.engine.access.actor import Actor
from taskqueue.engine.catalog.sync import sync_pipelines
from taskqueue.engine.events import route, send
from taskqueue.engine.execution.activity import Activity
from taskqueue.engine.execution.run import execute_task
from taskqueue.engine.maintenance import dispatch
from taskqueue.engine.runtime.claim_request import ClaimRequest
from taskqueue.engine.runtime.lease import Lease
from taskqueue.engine.tasks import control
from taskqueue.engine.worker.claims import claim
from taskqueue.engine.worker.settle import settle
from taskqueue.errors import AlreadyPaused, KeyReused, NotCancellable, NotPaused, NotRetryable
from taskqueue.models import Pipeline, Step, Task, Wait, Worker
from taskqueue.states import ENDED, StepStatus
from taskqueue.testing import InProcessWorker, advance

MOST, MOST_PER_TENANT = 3, 2
broken: Counter[str] = Counter()
"""How many more times the steps of a tenant fail."""


@step(retry=Retry.fixed(timedelta(minutes=1), retries=2))
def fragile(tenant: str) -> str:
    if broken[tenant]:
        broken[tenant] -= 1
        raise ConnectionError(tenant)
    return tenant


@step
def sure(tenant: str) -> str:
    return tenant


@pipeline(
    "machine/limited",
    concurrency=[Limit(MOST), Limit(MOST_PER_TENANT, key="{tenant}")],
    finish_within=timedelta(days=2),
)
def limited(tenant: str) -> str:
    sure(tenant)
    sleep("nap", timedelta(minutes=5))
    return sure(fragile(tenant))


@pipeline("machine/free")
def free(tenant: str) -> str:
    return sure(sure(tenant))


@pipeline("machine/waiting", concurrency=4)
def waiting(tenant: str) -> str:
    sure(tenant)
    word = wait_for("machine/word", match={"tenant": tenant}, timeout=timedelta(minutes=10))
    last = wait_for("machine/last-word", match={"tenant": tenant}, timeout=timedelta(days=1))
    return sure(f"{word} {last} {free(tenant)}")


PIPELINES = {"machine/limited": limited, "machine/free": free, "machine/waiting": waiting}


@dataclass
class WorkerState:
    """A worker and its leases."""

    worker: InProcessWorker
    leases: list[Lease] = field(default_factory=list)


class Machine(RuleBasedStateMachine):
    """Callers, two workers, operators and the passing of time."""

    @initialize()
    def begin(self):
        self.atomic = transaction.atomic()
        self.atomic.__enter__()
        broken.clear()
        sync_pipelines()
        self.workers = [WorkerState(InProcessWorker()) for _ in range(2)]
        self.leases: dict[UUID, int] = {}
        self.outputs: dict[tuple[UUID, str], Any] = {}
        self.finished: dict[UUID, str] = {}

    def teardown(self):
        if hasattr(self, "atomic"):
            transaction.set_rollback(True)
            self.atomic.__exit__(None, None, None)
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock_all()")

    @rule(
        name=st.sampled_from(sorted(PIPELINES)),
        tenant=st.sampled_from("abc"),
        priority=st.sampled_from([-600, 0, 600]),
        key=st.sampled_from(["", "", "k1", "k2"]),
    )
    def enqueue(self, name, tenant, priority, key):
        with suppress(KeyReused):  # the key stands for another payload
            PIPELINES[name].using(priority=priority, key=key).enqueue(tenant)

    @rule(number=st.integers(0, 1), most=st.sampled_from([1, 3]))
    def claim(self, number, most):
        state = self.workers[number]
        self.take(state, claim(ClaimRequest(state.worker.worker, most)))

    def take(self, state, leases):
        """Check that no task of a paused pipeline was claimed."""
        paused = Pipeline.objects.filter(paused_at__isnull=False, name__in=[lease.pipeline for lease in leases])
        assert not paused.exists()
        state.leases += leases

    @precondition(lambda self: any(state.leases for state in self.workers))
    @rule(data=st.data(), steps=st.integers(0, 3), claims=st.booleans())
    def execute(self, data, steps, claims):
        """A worker executes some steps of a body and settles the outcome."""
        state = data.draw(st.sampled_from([state for state in self.workers if state.leases]))
        lease = state.leases.pop(0)
        left = [steps]

        def stopping() -> bool:
            left[0] -= 1
            return left[0] < 0

        outcome = execute_task(lease, activity=Activity(), stopping=stopping)
        claim_request = ClaimRequest(state.worker.worker) if claims else None
        self.take(state, settle(lease, outcome, claim_request=claim_request))

    @rule(tenant=st.sampled_from("abc"), times=st.integers(1, 4))
    def break_steps(self, tenant, times):
        broken[tenant] = times

    @rule(number=st.integers(0, 1))
    def crash(self, number):
        """A worker dies, with its old leases still in its memory, and another one replaces it."""
        self.workers[number].worker.die()
        dispatch.run_due(1)
        self.workers[number].worker = InProcessWorker()

    @rule(minutes=st.sampled_from([1, 6, 60 * 24 * 3]))
    def let_time_pass(self, minutes):
        advance(minutes=minutes)
        Worker.objects.filter(ended_at=None).update(heartbeat_at=Now())
        dispatch.run_due(1)

    @precondition(lambda _machine: Task.objects.exists())
    @rule(data=st.data())
    def cancel(self, data):
        try:
            control.cancel(data.draw(st.sampled_from(all_tasks())))
        except NotCancellable:
            return

    @precondition(lambda _machine: Task.objects.exists())
    @rule(data=st.data())
    def retry(self, data):
        chosen = data.draw(st.sampled_from(all_tasks()))
        try:
            control.retry(chosen)
        except NotRetryable:
            return
        self.finished.pop(chosen, None)

    @rule(tenant=st.sampled_from("abc"), name=st.sampled_from(["machine/word", "machine/last-word"]))
    def emit(self, tenant, name):
        """Send an event that ends all waits for it whose time is not over."""
        event = send.send(name, {"tenant": tenant})
        route.route(event.pk)
        for wait in Wait.objects.filter(event=name, match={"tenant": tenant}, outcome=""):
            assert Step.objects.filter(task=wait.task, key=wait.step_key, until__lte=Now()).exists()

    @rule(name=st.sampled_from(sorted(PIPELINES)))
    def pause(self, name):
        try:
            control.pause_pipeline(name, reason="A look.", actor=Actor(None, "dana"))
        except AlreadyPaused:
            return

    @rule(name=st.sampled_from(sorted(PIPELINES)))
    def resume(self, name):
        try:
            control.resume_pipeline(name)
        except NotPaused:
            return

    @invariant()
    def no_limit_is_exceeded(self):
        with_slot = Task.objects.filter(pipeline="machine/limited", slot_acquired_at__isnull=False).exclude(
            status__in=ENDED
        )
        assert with_slot.count() <= MOST
        assert all(row["n"] <= MOST_PER_TENANT for row in with_slot.values("concurrency_key").annotate(n=Count("pk")))

    @invariant()
    def every_unfinished_task_can_continue(self):
        for task in Task.objects.exclude(status__in=ENDED).select_related("worker"):
            if task.status == "running":
                assert task.worker is not None
                assert task.worker.ended_at is None
            elif task.due_at is None:
                assert task.status == "waiting"
                assert Task.objects.filter(parent=task, finished_at=None).exists()

    @invariant()
    def open_waits_suspend_their_tasks_until_their_time_is_over(self):
        for wait in Wait.objects.filter(outcome="").select_related("task"):
            steps = Step.objects.filter(task=wait.task, key=wait.step_key)
            assert wait.task.status == "waiting" or steps.filter(until__lte=Now()).exists()

    @invariant()
    def no_step_succeeds_twice(self):
        now = {
            (step.task_id, step.key): (step.pk, step.output, step.finished_at - step.started_at)
            for step in Step.objects.filter(status=StepStatus.SUCCEEDED)
        }
        for step_key, recorded in self.outputs.items():
            assert now[step_key] == recorded
        self.outputs = now

    @invariant()
    def finished_tasks_stay_finished(self):
        now = dict(Task.objects.filter(status__in=ENDED).values_list("pk", "status"))
        for task, status in self.finished.items():
            assert now[task] == status
        self.finished = now

    @invariant()
    def leases_only_increase(self):
        now = dict(Task.objects.values_list("pk", "lease"))
        assert all(now[task] >= lease for task, lease in self.leases.items())
        self.leases = now


def all_tasks() -> list[UUID]:
    """All tasks, the oldest first."""
    return list(Task.objects.order_by("pk").values_list("pk", flat=True))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.django_db
def test_guarantees_hold_for_any_sequence_of_events():
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=12,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
