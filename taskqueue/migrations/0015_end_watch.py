"""Ends of tasks are announced to web processes that wait for them.

A trigger, because tasks end in many statements, and each has to announce it in its own transaction. It asks once for each
task that ends, and says something only if somebody waits: NOTIFY makes all transactions that use it commit one by one.
"""

import django.db.models.deletion
from django.db import migrations, models

ANNOUNCE = """
CREATE FUNCTION taskqueue_announce_end() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM taskqueue_endwatch WHERE task_id = NEW.id) THEN
        PERFORM pg_notify('taskqueue_end', NEW.id::text);
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER taskqueue_end AFTER UPDATE OF status ON taskqueue_task FOR EACH ROW
WHEN (NEW.status IN ('succeeded', 'failed', 'cancelled') AND NEW.status <> OLD.status)
EXECUTE FUNCTION taskqueue_announce_end();
"""
FORGET = "DROP TRIGGER taskqueue_end ON taskqueue_task; DROP FUNCTION taskqueue_announce_end();"


class Migration(migrations.Migration):
    dependencies = [("taskqueue", "0014_deferred_starts")]

    operations = [
        migrations.CreateModel(
            name="EndWatch",
            fields=[
                (
                    "task",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        primary_key=True,
                        related_name="+",
                        serialize=False,
                        to="taskqueue.task",
                    ),
                ),
                ("until", models.DateTimeField(help_text="Nobody waits any longer than this.")),
            ],
        ),
        migrations.RunSQL(ANNOUNCE, FORGET),
    ]
