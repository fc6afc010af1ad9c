"""The tables: PostgreSQL holds the whole state of pipelines, tasks and workers."""

from taskqueue.models.access import PipelinePermission, Token
from taskqueue.models.alert import Alert, AlertRule
from taskqueue.models.event import Event, Question, Skip, Trigger, Wait
from taskqueue.models.limit import ConcurrencyLimit, RateLimit, RateLimitBucket, Schedule, StepSlot
from taskqueue.models.operation import BulkOperation
from taskqueue.models.pipeline import Pipeline, PipelineStep
from taskqueue.models.pruning import Pruning
from taskqueue.models.rollup import EndCount, Reopened, Rollup, RollupMark
from taskqueue.models.step import Attempt, Step
from taskqueue.models.stream import Chunk, StreamWatch
from taskqueue.models.subscription import Subscription
from taskqueue.models.task import EndWatch, IdempotencyKey, Overview, Task
from taskqueue.models.worker import StepReport, Worker

__all__ = [
    "Alert", "AlertRule", "Attempt", "BulkOperation", "Chunk", "ConcurrencyLimit", "EndCount", "EndWatch", "Event",
    "IdempotencyKey", "Overview", "Pipeline", "PipelinePermission", "PipelineStep", "Pruning", "Question",
    "RateLimit", "RateLimitBucket", "Reopened", "Rollup", "RollupMark", "Schedule", "Skip", "Step", "StepReport",
    "StepSlot", "StreamWatch", "Subscription", "Task", "Token", "Trigger", "Wait", "Worker",
]  # fmt: skip
