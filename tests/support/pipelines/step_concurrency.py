"""Steps with a concurrency limit."""

from __future__ import annotations

from typing import Any

from taskqueue import Retry, pipeline, step
from taskqueue.engine.execution.activity import Activity
from taskqueue.engine.execution.run import execute_task
from taskqueue.engine.worker.settle import settle

inside: list[Any] = []
"""Called in the middle of a step, by its number."""


@step(retry=Retry.never())
def worked(tenant: str) -> str:
    for action in inside.copy():
        action(tenant)
    return tenant


@pipeline("places/one", step_concurrency=1)
def one_place(tenant: str) -> str:
    return worked(tenant)


def execute(lease):
    """Run the body once and settle."""
    outcome = execute_task(lease, activity=Activity(), stopping=lambda: False)
    settle(lease, outcome, claim_request=None)
    return outcome


def in_the_middle(action):
    """Call a function once, in the middle of the next step."""

    def once(tenant):
        inside.remove(once)
        action()

    inside.append(once)
