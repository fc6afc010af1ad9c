"""Queues on the pages of pipelines, workers and the overview."""

from __future__ import annotations

from django.utils.html import format_html
from django.utils.safestring import SafeString

from taskqueue.models import Worker
from taskqueue.queues import DEFAULT_QUEUE, TakenQueues


def taken_by(worker: Worker) -> TakenQueues:
    return TakenQueues(tuple(worker.queues), tuple(worker.not_queues))


def queues_text(worker: Worker) -> str:
    """The queues that a worker takes, such as "mail, default"."""
    queues = taken_by(worker)
    return "all" if queues.takes_all else str(queues)


def queue_label(queue: str) -> SafeString | str:
    """A label with the name of a queue; empty for the default queue, in which most pipelines are."""
    return "" if queue == DEFAULT_QUEUE else format_html(' <span class="tq-label" title="Queue">{}</span>', queue)
