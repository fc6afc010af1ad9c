"""Pruning: how far each pipeline's history has been pruned."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from django.db import models
from django.db.models.functions import Now

from taskqueue.models.fields import time_field

PACE_LOCK: Final = ""
"""The name of the row that is the lock for pruning; its time limits the pace over all workers."""
NO_PIPELINE: Final = "+"
"""The name of the row for events, keys and workers; no pipeline's name contains a plus."""
RATE_BUCKETS: Final = "+uses"
"""The name of the row for rate limit buckets."""
BEGINNING: Final = UUID(int=0)


class Pruning(models.Model):
    """The progress of pruning one pipeline."""

    name = models.CharField(primary_key=True, max_length=200, db_collation="C", help_text="The pipeline's name.")
    after = models.UUIDField(default=BEGINNING, help_text="The current round has read up to this task.")
    due_at = models.DateTimeField(db_default=Now(), help_text="When the round continues or the next one begins.")
    pruned_at = time_field("When a task was last pruned.")
    total = models.BigIntegerField(default=0, help_text="Tasks pruned so far.")

    def __str__(self) -> str:
        return self.name
