"""The mirror: pipelines and their known steps as rows, so that people see them before the first task."""

from __future__ import annotations

from typing import Any

from django.db import router, transaction
from django.db.models.functions import Now

from taskqueue.definitions import PipelineDefinition, StepDefinition, registry
from taskqueue.models import Pipeline, PipelineStep
from taskqueue.policies import Retry


def mirror_pipelines() -> None:
    """Write what this process's code defines. A pipeline whose code is gone keeps its row: its tasks are still there.

    Two processes may do this at once, with the same code or during a deploy with different code: each pipeline is one
    transaction, and the last one stands.
    """
    for definition in registry.all():
        with transaction.atomic():
            mirror_pipeline(definition)


def mirror_after_migrate(*, using: str, **_signal: object) -> None:
    """The same after `migrate`, if it was this app's database that was migrated."""
    if router.allow_migrate_model(using, Pipeline):
        mirror_pipelines()


def mirror_pipeline(definition: PipelineDefinition) -> None:
    """Write one pipeline and its steps."""
    pipeline, _created = Pipeline.objects.update_or_create(
        name=definition.name,
        defaults={
            "description": definition.description,
            "payload_schema": definition.payload.json_schema(),
            "payload_example": definition.payload.example(),
            "result_schema": definition.result.json_schema(),
            "retry": waits_of(definition.retry),
            "updated_at": Now(),
        },
    )
    steps = definition.known_steps()
    for position, step in enumerate(steps):
        PipelineStep.objects.update_or_create(pipeline=pipeline, name=step.name, defaults=facts_of(step, position))
    pipeline.known_steps.exclude(name__in=[step.name for step in steps]).delete()


def facts_of(step: StepDefinition, position: int) -> dict[str, Any]:
    """A step's row."""
    return {
        "position": position,
        "atomic": step.atomic,
        "timeout": step.timeout,
        "retry": waits_of(step.retry),
    }


def waits_of(retry: Retry) -> list[float]:
    """A retry policy's waits in seconds."""
    return [wait.total_seconds() for wait in retry.waits]
