"""Idempotency keys: the task of a key, and when the key expires."""

from __future__ import annotations

from django.db import models

from taskqueue.models.fields import text_field
from taskqueue.models.pipeline import Pipeline
from taskqueue.models.task import Task


class IdempotencyKey(models.Model):
    """A key and its task. The unique constraint prevents a second task within the key's window."""

    pipeline = models.ForeignKey(Pipeline, on_delete=models.CASCADE, related_name="+", db_index=False)
    key = models.CharField(max_length=200)
    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="idempotency_keys")
    expires_at = models.DateTimeField()
    payload_digest = text_field(32, "Digest of the payload that the key was used with.", db_default="")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["pipeline", "key"], name="taskqueue_idempotencykey_once"),
        ]
        # pruning: expired keys
        indexes = [models.Index(fields=["expires_at"], name="taskqueue_key_expiry")]

    def __str__(self) -> str:
        return self.key
