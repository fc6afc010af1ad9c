"""Streams to callers: what steps write while they run, and the tasks whose changes are announced."""

from __future__ import annotations

from django.db import models

from taskqueue.models.fields import flag_field
from taskqueue.models.task import Task


class Chunk(models.Model):
    """Text that a step has written for the callers that follow its task. Rows are added and pruned, never changed."""

    # As of a step: each statement that adds chunks holds the lock of a running task, and pruning deletes them first.
    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="chunks", db_index=False, db_constraint=False)
    step = models.CharField(max_length=200, help_text="The step's key.")
    attempt = models.SmallIntegerField(help_text="The number of the step's attempt, from 1.")
    lease = models.IntegerField(help_text="The lease of the worker: it rises whenever the step begins again.")
    text = models.TextField()
    is_secret = flag_field("Whether the task or the step was given secrets, which the text may repeat.")
    is_cut = flag_field("Stands for all that was written after the task's limit was reached.")
    total = models.BigIntegerField(help_text="Bytes of the task's chunks up to this one.")

    class Meta:
        default_permissions = ()
        indexes = [
            # streams: what comes after a position; pruning
            models.Index(fields=["task", "id"], name="taskqueue_chunk_by_task"),
        ]

    def __str__(self) -> str:
        return f"{self.step}: {self.text}"


class StreamWatch(models.Model):
    """A task that a caller follows: its changes of status and its chunks are announced with NOTIFY. Only a hint."""

    # No constraint, as for an end watch.
    task = models.OneToOneField(
        Task, primary_key=True, on_delete=models.DO_NOTHING, db_constraint=False, related_name="+"
    )
    until = models.DateTimeField(help_text="The latest time that any process asked for.")

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return str(self.task_id)
