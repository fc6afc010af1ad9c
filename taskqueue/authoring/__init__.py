"""What authors of pipelines write with."""

from taskqueue.authoring.pipelines import BoundPipeline, Pipeline, pipeline
from taskqueue.authoring.steps import Step, step
from taskqueue.authoring.tasks import current_task
from taskqueue.errors import Permanent, RetryAfter, StepFailed, StepTimedOut
from taskqueue.policies import Retry

__all__ = [
    "BoundPipeline",
    "Permanent",
    "Pipeline",
    "Retry",
    "RetryAfter",
    "Step",
    "StepFailed",
    "StepTimedOut",
    "current_task",
    "pipeline",
    "step",
]
