"""Sync a pipeline's cron policy to its Schedule row."""

from __future__ import annotations

from django.db.models.functions import Now

from taskqueue.definitions import PipelineDefinition
from taskqueue.models import Pipeline, Schedule


def sync_schedule(definition: PipelineDefinition) -> None:
    """Insert, update or delete a pipeline's schedule. A missed run stays due unless expression or time zone change."""
    cron = definition.policies.cron
    schedules = Schedule.objects.filter(pipeline=definition.name)
    if cron is None:
        schedules.delete()
        return
    if schedules.filter(expression=cron.expression, timezone=cron.timezone).exists():
        schedules.exclude(misfire=cron.misfire).update(misfire=cron.misfire)
        return
    now = Pipeline.objects.filter(name=definition.name).values_list(Now(), flat=True).get()
    Schedule.objects.update_or_create(
        pipeline_id=definition.name,
        defaults={
            "expression": cron.expression,
            "timezone": cron.timezone,
            "misfire": cron.misfire,
            "next_at": cron.next_after(now),
        },
    )
