"""End watches: the tasks for whose end a web process waits."""

from __future__ import annotations

from django.db import models


class EndWatch(models.Model):
    """A task whose end is to be announced: a trigger on the table of tasks looks here. A hint, which may be lost."""

    # No constraint: it would have to lock the task's row, on which a step may be writing for long.
    task = models.OneToOneField(
        "taskqueue.Task", primary_key=True, on_delete=models.DO_NOTHING, db_constraint=False, related_name="+"
    )
    until = models.DateTimeField(help_text="Nobody waits any longer than this.")

    def __str__(self) -> str:
        """The task's id."""
        return str(self.task_id)
