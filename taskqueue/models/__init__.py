"""The rows: everything that is true about pipelines, tasks and workers is here and nowhere else."""

from taskqueue.models.event import Event, Skip, Trigger, Wait
from taskqueue.models.idempotency import IdempotencyKey
from taskqueue.models.limit import Gate, Rate, RateUse, Schedule, StepSlot
from taskqueue.models.pipeline import Pipeline, PipelineStep
from taskqueue.models.pruning import Pruning
from taskqueue.models.step import Attempt, Step
from taskqueue.models.task import Task
from taskqueue.models.worker import Worker

__all__ = [
    "Attempt",
    "Event",
    "Gate",
    "IdempotencyKey",
    "Pipeline",
    "PipelineStep",
    "Pruning",
    "Rate",
    "RateUse",
    "Schedule",
    "Skip",
    "Step",
    "StepSlot",
    "Task",
    "Trigger",
    "Wait",
    "Worker",
]
