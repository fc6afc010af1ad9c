"""What authors of pipelines write with."""

from taskqueue.authoring.pipelines import BoundPipeline, Pipeline, pipeline
from taskqueue.authoring.sleeping import sleep, sleep_until
from taskqueue.authoring.steps import Step, step
from taskqueue.authoring.tasks import current_task
from taskqueue.errors import Permanent, RetryAfter, StepFailed, StepTimedOut
from taskqueue.policies import Batch, CancelOn, Debounce, Limit, On, Rate, Retry, Singleton

__all__ = [
    "Batch",
    "BoundPipeline",
    "CancelOn",
    "Debounce",
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
    "current_task",
    "pipeline",
    "sleep",
    "sleep_until",
    "step",
]
