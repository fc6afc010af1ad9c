"""End watches: the tasks whose end a web process waits for."""

from __future__ import annotations

from django.db import models


class EndWatch(models.Model):
    """A task whose end a trigger on the task table announces with NOTIFY. A hint that may be lost."""

    # No constraint: it would lock the task's row, which a step's transaction may hold for long.
    task = models.OneToOneField(
        "taskqueue.Task", primary_key=True, on_delete=models.DO_NOTHING, db_constraint=False, related_name="+"
    )
    until = models.DateTimeField(help_text="The latest time that any process waits for.")

    def __str__(self) -> str:
        return str(self.task_id)
