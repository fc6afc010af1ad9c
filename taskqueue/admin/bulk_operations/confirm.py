"""The confirmation of a bulk operation, and the texts of its progress."""

from __future__ import annotations

from collections.abc import Mapping

from django.utils.html import format_html
from django.utils.safestring import SafeString

from taskqueue.engine.maintenance.bulk_operations import LARGE, about
from taskqueue.engine.queries.filters import COUNT_LIMIT
from taskqueue.models import BulkOperation
from taskqueue.states import BulkOperationStatus, BulkOperationVerb

REASON_LENGTH = 300

DONE = {
    BulkOperationVerb.RETRY: "retried",
    BulkOperationVerb.CANCEL: "cancelled",
    BulkOperationVerb.RERUN: "rerun",
    BulkOperationVerb.RUN_NOW: "run now",
}


class ConfirmForm:
    """The form that starts a bulk operation.

    Attributes:
        estimate: the number of matching tasks, counted up to one more than COUNT_LIMIT.
        errors: what is wrong with the sent form.
    """

    def __init__(self, verb: BulkOperationVerb, estimate: int, sent: Mapping[str, str] | None) -> None:
        self.verb = verb
        self.estimate = estimate
        self.reason = " ".join((sent or {}).get("reason", "").replace("\0", "").split())[:REASON_LENGTH]
        self.errors = [] if sent is None else self.errors_in(sent)
        self.is_valid = sent is not None and not self.errors

    def errors_in(self, sent: Mapping[str, str]) -> list[str]:
        errors = []
        if not self.estimate:
            errors.append("No task matches any more.")
        if self.is_large and not self.reason:
            errors.append("Enter a reason. It is stored with the operation.")
        if self.is_large and sent.get("confirmation", "").strip().lower() not in {self.verb, self.verb.words}:
            errors.append(f"Type {self.verb.words} to confirm that you mean {about(self.estimate)}.")
        return errors

    @property
    def is_large(self) -> bool:
        return self.estimate > LARGE

    @property
    def label(self) -> str:
        return f"{self.verb.words.capitalize()} {about(self.estimate)}"


def progress_bar(operation: BulkOperation) -> SafeString:
    """How far an operation is; indeterminate when its tasks were not counted to the end."""
    if operation.estimate > COUNT_LIMIT and not operation.has_ended:
        return format_html('<progress class="tq-meter" aria-label="{}"></progress>', "Progress")
    most = max(operation.estimate, 1)
    value = most if operation.status == BulkOperationStatus.DONE else min(operation.processed, most)
    return format_html('<progress class="tq-meter" value="{}" max="{}" aria-label="Progress"></progress>', value, most)


def counts_text(operation: BulkOperation) -> str:
    """Such as "8 of 8 tasks processed: 7 retried, 1 skipped"."""
    done = DONE[BulkOperationVerb(operation.verb)]
    parts = [f"{operation.processed:,} of {about(operation.estimate)} processed: {operation.changed:,} {done}"]
    if operation.skipped:
        parts.append(f"{operation.skipped:,} skipped")
    if operation.failed:
        parts.append(f"{operation.failed:,} failed")
    return ", ".join(parts)
