"""What people are told before an operation and while it goes on."""

from __future__ import annotations

from collections.abc import Mapping

from django.utils.html import format_html
from django.utils.safestring import SafeString

from taskqueue.admin.shared import formats
from taskqueue.engine.queries.filters import COUNTED
from taskqueue.models import BulkOperation
from taskqueue.states import BulkOperationStatus, BulkOperationVerb

MANY = 1_000
"""Above it a reason is required, and the verb has to be typed."""
LONGEST_REASON = 300

CONSEQUENCES = {
    BulkOperationVerb.RETRY: (
        "Queues each of them again and keeps the results of its finished steps. What a step that is not atomic did "
        "outside the database before it failed may happen a second time."
    ),
    BulkOperationVerb.CANCEL: (
        "Ends each of them, with its parallel steps and children; what a step in progress returns is not recorded. "
        "A cancelled task can be retried later."
    ),
    BulkOperationVerb.RERUN: (
        "Makes a new task from the payload, priority and labels of each; nothing else is kept of it. Every step runs "
        "again, and what those that are not atomic did outside the database may happen a second time."
    ),
    BulkOperationVerb.RUN_NOW: (
        "Starts each of them that waits for a time, makes its next attempt, or ends its sleep. Limits and rates hold "
        "as ever; one that waits for something else is passed over."
    ),
}


DONE = {
    BulkOperationVerb.RETRY: "retried",
    BulkOperationVerb.CANCEL: "cancelled",
    BulkOperationVerb.RERUN: "rerun",
    BulkOperationVerb.RUN_NOW: "run now",
}


class Form:
    """The form that starts an operation.

    Attributes:
        estimate: how many tasks match now, counted up to the cap and one more.
        faults: what is wrong with what was sent.
    """

    def __init__(self, verb: BulkOperationVerb, estimate: int, sent: Mapping[str, str] | None) -> None:
        self.verb = verb
        self.estimate = estimate
        self.reason = " ".join((sent or {}).get("reason", "").replace("\0", "").split())[:LONGEST_REASON]
        self.faults = [] if sent is None else self.check(sent)
        self.is_valid = sent is not None and not self.faults

    def check(self, sent: Mapping[str, str]) -> list[str]:
        """What is wrong with it."""
        faults = []
        if not self.estimate:
            faults.append("No task matches any more.")
        if self.is_large and not self.reason:
            faults.append("Say why: it is kept with the operation.")
        if self.is_large and sent.get("confirmation", "").strip().lower() not in {self.verb, self.verb.words}:
            faults.append(f"Type {self.verb.words} to confirm that you mean {about(self.estimate)}.")
        return faults

    @property
    def is_large(self) -> bool:
        """Whether it concerns so many that it has to be confirmed."""
        return self.estimate > MANY

    @property
    def consequence(self) -> str:
        """What becomes of the tasks."""
        return CONSEQUENCES[self.verb]

    @property
    def participle(self) -> str:
        """What is done to them."""
        return DONE[self.verb]

    @property
    def about(self) -> str:
        """How many."""
        return about(self.estimate)

    @property
    def label(self) -> str:
        """What the button says."""
        return f"{self.verb.words.capitalize()} {self.about}"


def about(estimate: int) -> str:
    """A number of tasks, honest about where counting stopped."""
    return f"{COUNTED:,}+ tasks" if estimate > COUNTED else formats.count_of(estimate, "task")


def meter(operation: BulkOperation) -> SafeString:
    """How far an operation is; without an end where that was not counted."""
    if operation.estimate > COUNTED and not operation.has_ended:
        return format_html('<progress class="tq-meter" aria-label="{}"></progress>', "Progress")
    most = max(operation.estimate, 1)
    value = most if operation.status == BulkOperationStatus.DONE else min(operation.processed, most)
    return format_html('<progress class="tq-meter" value="{}" max="{}" aria-label="Progress"></progress>', value, most)


def account(operation: BulkOperation) -> str:
    """An exact account of what was done."""
    parts = [f"{operation.processed:,} of {about(operation.estimate)} done", f"{operation.changed:,} changed"]
    if operation.skipped:
        parts.append(f"{operation.skipped:,} had moved on")
    if operation.failed:
        parts.append(f"{operation.failed:,} could not be done")
    return ", ".join(parts)
