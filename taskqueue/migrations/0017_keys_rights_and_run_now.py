"""What a key was used with; operations that run tasks now; and starts by events whose sender may not run them."""

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
    "not-permitted",
]
VERBS = ["retry", "cancel", "rerun", "run-now"]


class Migration(migrations.Migration):
    dependencies = [("taskqueue", "0016_overview_and_reports")]

    operations = [
        migrations.AddField(
            model_name="idempotencykey",
            name="payload_digest",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="Of the payload that the key was used with.",
                max_length=32,
            ),
        ),
        migrations.AddField(
            model_name="event",
            name="closed",
            field=models.JSONField(
                blank=True,
                db_default={},
                default=dict,
                help_text="The pipelines of which its sender may run (`run`) or cancel (`cancel`) no tasks.",
            ),
        ),
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
        migrations.RemoveConstraint(model_name="operation", name="taskqueue_operation_verb_known"),
        migrations.AlterField(
            model_name="operation",
            name="verb",
            field=models.CharField(choices=[(verb, verb) for verb in VERBS], max_length=8),
        ),
        migrations.AddConstraint(
            model_name="operation",
            constraint=models.CheckConstraint(condition=Q(verb__in=VERBS), name="taskqueue_operation_verb_known"),
        ),
    ]
