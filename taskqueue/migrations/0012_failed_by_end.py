"""Failed tasks by their end: those that failed last. Built beside running workers, none of which waits for it."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("taskqueue", "0011_unable_workers")]

    operations = [
        AddIndexConcurrently(
            model_name="task",
            index=models.Index(condition=Q(error__isnull=False), fields=["finished_at"], name="taskqueue_task_failed"),
        ),
    ]
