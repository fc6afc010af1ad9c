"""Steps with a concurrency limit."""

from __future__ import annotations

from typing import Any

from taskqueue import Retry, pipeline, step
from taskqueue.engine.execution.activity import Activity
from taskqueue.engine.execution.run import perform
from taskqueue.engine.worker.settle import settle

inside: list[Any] = []
"""Called in the middle of a step, by its number."""


@step(retry=Retry.never())
def worked(tenant: str) -> str:
    for deed in inside.copy():
        deed(tenant)
    return tenant


@pipeline("places/one", step_concurrency=1)
def one_place(tenant: str) -> str:
    return worked(tenant)


def execute(lease):
    """Go through the body once and settle."""
    outcome = perform(lease, activity=Activity(), stopping=lambda: False)
    settle(lease, outcome, claim_request=None)
    return outcome


def in_the_middle(deed):
    """Do something once, in the middle of the next step."""

    def once(tenant):
        inside.remove(once)
        deed()

    inside.append(once)
