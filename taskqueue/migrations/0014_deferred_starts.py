"""Starts by events that wait for a process whose code knows the pipeline."""

from django.db import migrations, models
from django.db.models import Q

KINDS = [
    "duplicate",
    "singleton",
    "debounced",
    "batched",
    "misfire",
    "paused",
    "invalid",
    "deferred",
    "unknown",
]


class Migration(migrations.Migration):
    dependencies = [("taskqueue", "0013_output_bytes")]

    operations = [
        migrations.RemoveConstraint(model_name="skip", name="taskqueue_skip_kind_known"),
        migrations.AlterField(
            model_name="skip",
            name="kind",
            field=models.CharField(choices=[(kind, kind) for kind in KINDS], max_length=16),
        ),
        migrations.AddConstraint(
            model_name="skip",
            constraint=models.CheckConstraint(condition=Q(kind__in=KINDS), name="taskqueue_skip_kind_known"),
        ),
        migrations.AddIndex(
            model_name="skip",
            index=models.Index(condition=Q(kind="deferred"), fields=["pipeline", "id"], name="taskqueue_skip_deferred"),
        ),
    ]
