"""The names with which authors write pipelines."""

from taskqueue.authoring.bulk import enqueue_many
from taskqueue.authoring.call_context import current_task
from taskqueue.authoring.emitting import aemit, emit
from taskqueue.authoring.parallel import Deferred, each, gather
from taskqueue.authoring.pipelines import BoundPipeline, Pipeline, pipeline
from taskqueue.authoring.questions import answer_link
from taskqueue.authoring.sleeping import sleep, sleep_until
from taskqueue.authoring.steps import Step, step
from taskqueue.authoring.task_ended import TaskEnded
from taskqueue.authoring.waiting import Arrived, EventOf, event_of, wait_any, wait_for
from taskqueue.errors import GatherFailed, InvalidEventData, Permanent, RetryAfter, StepFailed, StepTimedOut
from taskqueue.policies import Batch, CancelOn, Debounce, Limit, On, Rate, Retry, Singleton

__all__ = [
    "Arrived",
    "Batch",
    "BoundPipeline",
    "CancelOn",
    "Debounce",
    "Deferred",
    "EventOf",
    "GatherFailed",
    "InvalidEventData",
    "Limit",
    "On",
    "Permanent",
    "Pipeline",
    "Rate",
    "Retry",
    "RetryAfter",
    "Singleton",
    "Step",
    "StepFailed",
    "StepTimedOut",
    "TaskEnded",
    "aemit",
    "answer_link",
    "current_task",
    "each",
    "emit",
    "enqueue_many",
    "event_of",
    "gather",
    "pipeline",
    "sleep",
    "sleep_until",
    "step",
    "wait_any",
    "wait_for",
]
