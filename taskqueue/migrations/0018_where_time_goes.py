"""Where a task's time goes, ends that were taken back, and counts that only rise.

The trigger sees every change of a status, whichever statement makes it; processes that do not know the columns are
accounted for too. The table of failure groups stays until no process is left that writes it.
"""

from __future__ import annotations

from typing import Any

import django.contrib.postgres.fields
from django.db import migrations, models

PHASES = {
    "queued": "Ready, and no worker was free.",
    "blocked": "Held back by a limit or a rate.",
    "waiting": "Asleep, or waiting for an event, children or parallel steps.",
    "backoff": "Between a failed attempt and the next one.",
    "executing": "In the hands of a worker.",
}

ACCOUNT = """
CREATE FUNCTION taskqueue_account_time() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    began timestamptz := coalesce(NEW.since, OLD.created_at);  -- new: the statement may have counted up to it
    changed timestamptz := statement_timestamp();
    spent float;
BEGIN
    IF OLD.timer_at < changed THEN  -- it has been due since then, and nobody was there to queue it
        changed := greatest(OLD.timer_at, began);
    END IF;
    spent := greatest(extract(epoch FROM changed - began), 0);
    CASE OLD.status
        WHEN 'queued' THEN NEW.queued_seconds := coalesce(NEW.queued_seconds, 0) + spent;
        WHEN 'running' THEN NEW.executing_seconds := coalesce(NEW.executing_seconds, 0) + spent;
        WHEN 'retrying' THEN NEW.backoff_seconds := coalesce(NEW.backoff_seconds, 0) + spent;
        WHEN 'waiting' THEN
            IF OLD.waits_at <> '' THEN
                NEW.blocked_seconds := coalesce(NEW.blocked_seconds, 0) + spent;
            ELSE
                NEW.waiting_seconds := coalesce(NEW.waiting_seconds, 0) + spent;
            END IF;
        ELSE  -- not due, or ended: nobody waits for it
    END CASE;
    NEW.since := changed;
    RETURN NEW;
END
$$;
CREATE TRIGGER taskqueue_account_time BEFORE UPDATE OF status ON taskqueue_task
FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION taskqueue_account_time();
"""
FORGET = """
DROP TRIGGER taskqueue_account_time ON taskqueue_task;
DROP FUNCTION taskqueue_account_time();
"""


def seconds(**more: Any) -> list[tuple[str, models.Field[Any, Any]]]:
    """A column for each phase."""
    return [(f"{phase}_seconds", models.FloatField(**more)) for phase in PHASES]


class Migration(migrations.Migration):
    dependencies = [("taskqueue", "0017_keys_rights_and_run_now")]

    operations = [
        migrations.AddField(
            model_name="task",
            name="since",
            field=models.DateTimeField(
                blank=True,
                editable=False,
                help_text="Since when it has its status; null before the first change.",
                null=True,
            ),
        ),
        *(
            migrations.AddField(
                model_name="task",
                name=f"{phase}_seconds",
                field=models.FloatField(blank=True, editable=False, help_text=words, null=True),
            )
            for phase, words in PHASES.items()
        ),
        migrations.RunSQL(ACCOUNT, FORGET),
        *(
            migrations.AddField(model_name="rollup", name=name, field=field)
            for name, field in seconds(default=0, db_default=0)
        ),
        migrations.AddField(
            model_name="rollup",
            name="repaired",
            field=models.IntegerField(
                db_default=0, default=0, help_text="Of those that succeeded, those retried by hand."
            ),
        ),
        migrations.AddField(
            model_name="rollupmark",
            name="moved_at",
            field=models.DateTimeField(blank=True, help_text="When somebody counted last.", null=True),
        ),
        migrations.CreateModel(
            name="Reopened",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("finished_at", models.DateTimeField()),
                ("pipeline", models.CharField(db_collation="C", max_length=200)),
                ("status", models.CharField(max_length=16)),
                ("tried", models.BooleanField()),
                ("repaired", models.BooleanField()),
                ("ran", models.SmallIntegerField(null=True)),
                ("waited", models.SmallIntegerField(null=True)),
                *seconds(),
            ],
            options={"indexes": [models.Index(fields=["finished_at"], name="taskqueue_reopened_by_end")]},
        ),
        migrations.CreateModel(
            name="EndCount",
            fields=[
                ("pipeline", models.CharField(db_collation="C", max_length=200, primary_key=True, serialize=False)),
                ("succeeded", models.BigIntegerField(default=0)),
                ("failed", models.BigIntegerField(default=0)),
                ("cancelled", models.BigIntegerField(default=0)),
                ("failed_tries", models.BigIntegerField(default=0)),
                (
                    "ran",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.BigIntegerField(), blank=True, default=list, size=None
                    ),
                ),
                (
                    "waited",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.BigIntegerField(), blank=True, default=list, size=None
                    ),
                ),
                *seconds(default=0),
            ],
        ),
        migrations.SeparateDatabaseAndState(state_operations=[migrations.DeleteModel("FailureGroup")]),
    ]
