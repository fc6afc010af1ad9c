"""Retention: how long pipelines keep their history, and how far it has been pruned."""

import uuid

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("taskqueue", "0008_tokens"),
    ]

    operations = [
        migrations.CreateModel(
            name="Pruning",
            fields=[
                (
                    "name",
                    models.CharField(
                        db_collation="C",
                        help_text="The pipeline's name.",
                        max_length=200,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                (
                    "after",
                    models.UUIDField(
                        default=uuid.UUID("00000000-0000-0000-0000-000000000000"),
                        help_text="The present round has looked so far.",
                    ),
                ),
                (
                    "due_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(),
                        help_text="When it goes on, or the next round begins.",
                    ),
                ),
                ("pruned_at", models.DateTimeField(blank=True, help_text="When something was pruned last.", null=True)),
                ("total", models.BigIntegerField(default=0, help_text="How many tasks have been pruned in all.")),
            ],
        ),
        migrations.AddField(
            model_name="pipeline",
            name="keep",
            field=models.DurationField(
                blank=True, help_text="How long its ended tasks are kept, if the code says so.", null=True
            ),
        ),
        migrations.AddField(
            model_name="pipeline",
            name="keep_for_ever",
            field=models.BooleanField(db_default=False, default=False, help_text="Whether they are never pruned."),
        ),
        migrations.AlterField(
            model_name="attempt",
            name="worker",
            field=models.ForeignKey(
                blank=True,
                db_constraint=False,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.DO_NOTHING,
                related_name="+",
                to="taskqueue.worker",
            ),
        ),
        migrations.AlterField(
            model_name="task",
            name="worker",
            field=models.ForeignKey(
                blank=True,
                db_constraint=False,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.DO_NOTHING,
                related_name="tasks",
                to="taskqueue.worker",
            ),
        ),
        migrations.AddIndex(
            model_name="idempotencykey",
            index=models.Index(fields=["expires_at"], name="taskqueue_key_expiry"),
        ),
    ]
