"""Pruning: how far the history has been looked through, and how much of it has gone."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from django.db import models
from django.db.models.functions import Now

TURN: Final = ""
"""The row that is the lock of whoever prunes; its time keeps the pace over all workers."""
OTHERS: Final = "+"
"""What belongs to no pipeline: events, keys, workers. No name has it in it."""
USES: Final = "+uses"
"""Records of how far rates are used up, one for each value of a key."""
BEGINNING: Final = UUID(int=0)


class Pruning(models.Model):
    """Where the pruning of a pipeline's history stands."""

    name = models.CharField(primary_key=True, max_length=200, db_collation="C", help_text="The pipeline's name.")
    after = models.UUIDField(default=BEGINNING, help_text="The present round has looked so far.")
    due_at = models.DateTimeField(db_default=Now(), help_text="When it goes on, or the next round begins.")
    pruned_at = models.DateTimeField(null=True, blank=True, help_text="When something was pruned last.")
    total = models.BigIntegerField(default=0, help_text="How many tasks have been pruned in all.")

    def __str__(self) -> str:
        """The name."""
        return self.name
