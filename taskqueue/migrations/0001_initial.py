"""The tables, with what Django's models cannot say: storage parameters, and a trigger each for tasks and steps.

The triggers see every write of a row, by any statement. They check the row, and that of a task computes the derived
columns, adds up where the task's time goes, and announces its end. PostgreSQL reads a CHECK constraint, a generated
column and the WHEN of a trigger from text once per statement, which was a third of what a short task cost the server;
a trigger's function is read once per connection. An end or a change is notified only if a web process waits for it: NOTIFY
makes all transactions that use it commit one by one.
"""

import datetime
import uuid

import django.contrib.postgres.fields
import django.contrib.postgres.indexes
import django.core.validators
import django.db.models.deletion
import django.db.models.expressions
import django.db.models.functions.comparison
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models

import taskqueue.ids
import taskqueue.models.subscription
import taskqueue.models.task
import taskqueue.states
import taskqueue.webhooks.signatures

STORAGE = """
ALTER TABLE taskqueue_task SET (
    fillfactor = 80,
    autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 5000,
    autovacuum_analyze_scale_factor = 0.0, autovacuum_analyze_threshold = 5000,
    autovacuum_vacuum_cost_delay = 0
);
ALTER TABLE taskqueue_worker SET (
    fillfactor = 50,
    autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 500
);
"""
"""Both change all the time: room for updates in the page, and vacuum by count instead of by share."""

TASK_ROW = """
CREATE FUNCTION taskqueue_task_row() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    broken text := CASE
        WHEN NEW.status NOT IN (
            'scheduled', 'queued', 'running', 'waiting', 'retrying', 'succeeded', 'failed', 'cancelled'
        ) THEN 'status_known'
        WHEN NEW.status = 'running' AND (NEW.worker_id IS NULL OR NEW.started_at IS NULL) THEN 'running_has_worker'
        WHEN (NEW.status IN ('succeeded', 'failed', 'cancelled')) <> (NEW.finished_at IS NOT NULL)
            THEN 'ended_has_finish'
        WHEN NEW.status = 'failed' AND NEW.error IS NULL THEN 'failed_has_error'
        WHEN NEW.status <> 'succeeded' AND NEW.result IS NOT NULL THEN 'result_of_success'
        WHEN NEW.status IN ('queued', 'scheduled', 'retrying') AND (NEW.due_at IS NULL OR NEW.sort_at IS NULL)
            THEN 'ready_has_place'
        WHEN NEW.sort_at <> NEW.due_at - NEW.priority * interval '1 second' THEN 'sorted_by_priority'
        WHEN NEW.priority NOT BETWEEN -600 AND 600 THEN 'priority_range'
        WHEN NEW.lease < 0 THEN 'lease_counts_up'
        WHEN NEW.progress NOT BETWEEN 0 AND 1 THEN 'progress_share'
        WHEN NEW.depth < 0 THEN 'depth_counts_up'
        WHEN NEW.parallel_limit < 0 THEN 'parallel_limit_counts_up'
    END;
    began timestamptz;
    changed timestamptz;
    spent float;
    is_followed boolean;
    is_watched boolean;
    is_subscribed boolean;
BEGIN
    IF broken IS NOT NULL THEN
        RAISE check_violation USING
            MESSAGE = format('task %s violates check constraint "taskqueue_task_%s"', NEW.id, broken),
            CONSTRAINT = 'taskqueue_task_' || broken, TABLE = TG_TABLE_NAME, SCHEMA = TG_TABLE_SCHEMA;
    END IF;

    NEW.ready_queue := CASE
        WHEN NEW.status <> 'queued' THEN NULL
        WHEN NEW.slot_acquired_at IS NULL THEN CASE WHEN NEW.concurrency_key = '' THEN NEW.pipeline_id || '+' END
        WHEN NEW.step_queue <> '' THEN '@' || NEW.step_queue || '/' || NEW.pipeline_id
        ELSE NEW.pipeline_id
    END;
    NEW.blocked_queue := CASE
        WHEN NEW.status = 'queued' AND NEW.slot_acquired_at IS NULL AND NEW.concurrency_key <> '' THEN NEW.pipeline_id
    END;
    NEW.slot_pipeline := CASE
        WHEN NEW.slot_acquired_at IS NOT NULL AND NEW.finished_at IS NULL AND NOT NEW.shares_slot THEN NEW.pipeline_id
    END;
    NEW.step_limit_queue := CASE
        WHEN NEW.status = 'waiting' AND NEW.due_at IS NULL AND NEW.blocked_on <> '' THEN NEW.pipeline_id
    END;
    NEW.timer_at := CASE WHEN NEW.status IN ('scheduled', 'waiting', 'retrying') THEN NEW.due_at END;
    NEW.unique_debounce := CASE
        WHEN NEW.status = 'scheduled' AND NEW.debounce_key <> '' THEN NEW.pipeline_id || ' ' || NEW.debounce_key
    END;
    NEW.unique_singleton := CASE
        WHEN NEW.finished_at IS NULL AND NEW.singleton_key <> '' THEN NEW.pipeline_id || ' ' || NEW.singleton_key
    END;
    NEW.deadline_at := CASE
        WHEN NEW.finished_at IS NOT NULL THEN NULL
        WHEN NEW.started_at IS NULL THEN least(NEW.start_by, NEW.finish_by)
        ELSE NEW.finish_by
    END;
    NEW.completion_pending_at := CASE WHEN NEW.notify_completion THEN NEW.finished_at END;

    IF TG_OP = 'INSERT' OR NEW.status = OLD.status THEN
        RETURN NEW;
    END IF;

    began := coalesce(NEW.since, OLD.created_at);  -- NEW: the statement may have counted up to it
    changed := statement_timestamp();
    IF OLD.timer_at < changed THEN  -- due since timer_at, but the dispatcher has queued it only now
        changed := greatest(OLD.timer_at, began);
    END IF;
    spent := greatest(extract(epoch FROM changed - began), 0);
    CASE OLD.status
        WHEN 'queued' THEN NEW.queued_seconds := coalesce(NEW.queued_seconds, 0) + spent;
        WHEN 'running' THEN NEW.executing_seconds := coalesce(NEW.executing_seconds, 0) + spent;
        WHEN 'retrying' THEN NEW.backoff_seconds := coalesce(NEW.backoff_seconds, 0) + spent;
        WHEN 'waiting' THEN
            IF OLD.blocked_on <> '' THEN
                NEW.blocked_seconds := coalesce(NEW.blocked_seconds, 0) + spent;
            ELSE
                NEW.waiting_seconds := coalesce(NEW.waiting_seconds, 0) + spent;
            END IF;
        ELSE  -- scheduled or ended: counts for no phase
    END CASE;
    NEW.since := changed;

    IF NEW.finished_at IS NULL THEN
        PERFORM pg_notify('taskqueue_stream', NEW.id::text) FROM taskqueue_streamwatch WHERE task_id = NEW.id;
    ELSE
        SELECT EXISTS (SELECT FROM taskqueue_streamwatch WHERE task_id = NEW.id),
            EXISTS (SELECT FROM taskqueue_endwatch WHERE task_id = NEW.id), EXISTS (
                SELECT FROM taskqueue_subscription subscription WHERE subscription.disabled_at IS NULL
                    AND NEW.status = ANY (subscription.endings) AND NEW.labels @> subscription.labels
                    AND taskqueue_covers(subscription.pipelines, NEW.pipeline_id)
            ) INTO is_followed, is_watched, is_subscribed;
        IF is_followed THEN
            PERFORM pg_notify('taskqueue_stream', NEW.id::text);
        END IF;
        IF is_watched THEN
            PERFORM pg_notify('taskqueue_end', NEW.id::text);
        END IF;
        IF is_subscribed OR NEW.callback_url <> '' THEN
            NEW.notify_completion := true;
            NEW.completion_pending_at := NEW.finished_at;
        END IF;
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER taskqueue_task_row BEFORE INSERT OR UPDATE ON taskqueue_task
FOR EACH ROW EXECUTE FUNCTION taskqueue_task_row();
"""
COVERS = """
CREATE FUNCTION taskqueue_covers(pipelines text[], pipeline text) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    -- Names, or their beginnings with an asterisk; none: all pipelines.
    SELECT pipelines = '{}' OR EXISTS (
        SELECT FROM unnest(pipelines) AS name
        WHERE name = pipeline OR (right(name, 1) = '*' AND starts_with(pipeline, left(name, -1)))
    )
$$;
"""
NO_COVERS = "DROP FUNCTION taskqueue_covers;"

NO_TASK_ROW = "DROP TRIGGER taskqueue_task_row ON taskqueue_task; DROP FUNCTION taskqueue_task_row();"

STEP_ROW = """
CREATE FUNCTION taskqueue_step_row() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    broken text := CASE
        WHEN NEW.kind NOT IN ('step', 'parallel', 'child', 'sleep', 'wait', 'emit') THEN 'kind_known'
        WHEN NEW.status NOT IN ('waiting', 'succeeded', 'retrying', 'failed') THEN 'status_known'
        WHEN (NEW.status IN ('waiting', 'succeeded')) <> (NEW.error IS NULL)
            OR (NEW.status <> 'succeeded' AND NEW.output IS NOT NULL) THEN 'error_unless_succeeded'
        WHEN NEW.finished_at < NEW.started_at THEN 'ends_after_start'
        WHEN NEW.key = '' THEN 'has_key'
    END;
BEGIN
    IF broken IS NOT NULL THEN
        RAISE check_violation USING
            MESSAGE = format('step %L of task %s violates check constraint "taskqueue_step_%s"', NEW.key, NEW.task_id, broken),
            CONSTRAINT = 'taskqueue_step_' || broken, TABLE = TG_TABLE_NAME, SCHEMA = TG_TABLE_SCHEMA;
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER taskqueue_step_row BEFORE INSERT OR UPDATE ON taskqueue_step
FOR EACH ROW EXECUTE FUNCTION taskqueue_step_row();
"""
NO_STEP_ROW = "DROP TRIGGER taskqueue_step_row ON taskqueue_step; DROP FUNCTION taskqueue_step_row();"


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("auth", "0012_alter_user_first_name_max_length"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Pipeline",
            fields=[
                ("name", models.CharField(db_collation="C", max_length=200, primary_key=True, serialize=False)),
                ("description", models.TextField(blank=True, default="")),
                ("payload_schema", models.JSONField(default=dict, help_text="JSON schema of the payload.")),
                ("payload_example", models.JSONField(blank=True, null=True)),
                ("result_schema", models.JSONField(default=dict, help_text="JSON schema of the result.")),
                ("retry", models.JSONField(default=list, help_text="Seconds between attempts of the body itself.")),
                (
                    "policies",
                    models.JSONField(
                        blank=True,
                        db_default={},
                        default=dict,
                        help_text="The other policies of the code: limits, rates, triggers.",
                    ),
                ),
                (
                    "version",
                    models.CharField(
                        blank=True,
                        db_default="",
                        default="",
                        help_text="The version of the body that new tasks run.",
                        max_length=50,
                    ),
                ),
                (
                    "fingerprint",
                    models.CharField(
                        blank=True,
                        db_default="",
                        default="",
                        help_text="Fingerprint of the code of body and steps.",
                        max_length=32,
                    ),
                ),
                (
                    "announces",
                    models.BooleanField(
                        db_default=False, default=False, help_text="Whether its tasks emit a completion event."
                    ),
                ),
                (
                    "has_handlers",
                    models.BooleanField(
                        db_default=False, default=False, help_text="Whether it has an on_failure or on_cancel handler."
                    ),
                ),
                (
                    "declared_queue",
                    models.CharField(
                        db_default="default", default="default", help_text="Its queue in the code.", max_length=100
                    ),
                ),
                (
                    "queue",
                    models.CharField(
                        blank=True,
                        db_default="",
                        default="",
                        help_text="Its queue, if it differs from the code.",
                        max_length=100,
                    ),
                ),
                (
                    "keep",
                    models.DurationField(
                        blank=True, help_text="How long ended tasks are kept, if the code sets it.", null=True
                    ),
                ),
                (
                    "keep_for_ever",
                    models.BooleanField(
                        db_default=False, default=False, help_text="Whether ended tasks are never pruned."
                    ),
                ),
                (
                    "definition_digest",
                    models.CharField(
                        blank=True,
                        db_default="",
                        default="",
                        help_text="Digest of the definition that was last copied from the code.",
                        max_length=64,
                    ),
                ),
                ("paused_at", models.DateTimeField(blank=True, null=True)),
                ("paused_by", models.CharField(blank=True, db_default="", default="", max_length=150)),
                ("pause_reason", models.CharField(blank=True, db_default="", default="", max_length=300)),
                (
                    "registered_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                (
                    "updated_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
            ],
            options={
                "permissions": [("pause_pipeline", "Can pause and resume pipeline")],
            },
        ),
        migrations.CreateModel(
            name="EndCount",
            fields=[
                ("pipeline", models.CharField(db_collation="C", max_length=200, primary_key=True, serialize=False)),
                ("succeeded", models.BigIntegerField(default=0)),
                ("failed", models.BigIntegerField(default=0)),
                ("cancelled", models.BigIntegerField(default=0)),
                ("failed_attempts", models.BigIntegerField(default=0)),
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
                ("queued_seconds", models.FloatField(default=0)),
                ("blocked_seconds", models.FloatField(default=0)),
                ("waiting_seconds", models.FloatField(default=0)),
                ("backoff_seconds", models.FloatField(default=0)),
                ("executing_seconds", models.FloatField(default=0)),
            ],
        ),
        migrations.CreateModel(
            name="Task",
            fields=[
                (
                    "id",
                    models.UUIDField(default=taskqueue.ids.uuid7, editable=False, primary_key=True, serialize=False),
                ),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("scheduled", "scheduled"),
                            ("queued", "queued"),
                            ("running", "running"),
                            ("waiting", "waiting"),
                            ("retrying", "retrying"),
                            ("succeeded", "succeeded"),
                            ("failed", "failed"),
                            ("cancelled", "cancelled"),
                        ],
                        max_length=16,
                    ),
                ),
                (
                    "key",
                    models.CharField(blank=True, default="", help_text="The caller's idempotency key.", max_length=200),
                ),
                ("labels", models.JSONField(blank=True, default=dict)),
                (
                    "subject",
                    models.CharField(
                        blank=True,
                        db_default="",
                        default="",
                        help_text="The object that the task is about: model and primary key.",
                        max_length=200,
                    ),
                ),
                (
                    "priority",
                    models.SmallIntegerField(
                        default=0, help_text="Seconds by which it goes ahead of tasks of its age."
                    ),
                ),
                ("payload", models.JSONField()),
                ("result", models.JSONField(blank=True, null=True)),
                ("error", models.JSONField(blank=True, help_text="Why it failed: type, message and step.", null=True)),
                (
                    "due_at",
                    models.DateTimeField(
                        blank=True,
                        help_text="When it may start or continue; null while it waits without a time.",
                        null=True,
                    ),
                ),
                (
                    "sort_at",
                    models.DateTimeField(
                        blank=True, help_text="Queue position: due_at minus priority seconds.", null=True
                    ),
                ),
                (
                    "concurrency_key",
                    models.CharField(
                        blank=True,
                        db_collation="C",
                        db_default="",
                        default="",
                        help_text="The value of the concurrency limit's key.",
                        max_length=200,
                    ),
                ),
                (
                    "slot_acquired_at",
                    models.DateTimeField(
                        blank=True,
                        help_text="Since when it has a slot of its pipeline's concurrency limit, until it ends.",
                        null=True,
                    ),
                ),
                (
                    "shares_slot",
                    models.BooleanField(
                        db_default=False,
                        default=False,
                        help_text="Whether it uses its parent's slot, as a child under the same limit.",
                    ),
                ),
                (
                    "step_queue",
                    models.CharField(
                        blank=True,
                        db_collation="C",
                        db_default="",
                        default="",
                        help_text="The queue of the step that it has come to; empty for its pipeline's.",
                        max_length=100,
                    ),
                ),
                (
                    "ready_queue",
                    models.TextField(
                        db_collation="C",
                        editable=False,
                        help_text="The queue that workers claim from: the pipeline's name, with a plus before the task's first start, or after the queue of a step.",
                        null=True,
                    ),
                ),
                (
                    "blocked_queue",
                    models.TextField(
                        db_collation="C",
                        editable=False,
                        help_text="The pipeline, while the concurrency limit blocks the task before its first start.",
                        null=True,
                    ),
                ),
                (
                    "slot_pipeline",
                    models.TextField(
                        db_collation="C",
                        editable=False,
                        help_text="The pipeline, while the task has a slot of its concurrency limit.",
                        null=True,
                    ),
                ),
                (
                    "timer_at",
                    models.DateTimeField(
                        editable=False, help_text="When it becomes queued by itself; null in other statuses.", null=True
                    ),
                ),
                (
                    "lease",
                    models.IntegerField(
                        default=0, help_text="Raised at every claim; a worker with an older lease cannot write."
                    ),
                ),
                (
                    "failures",
                    models.SmallIntegerField(
                        default=0, help_text="Failed attempts of the body itself, outside of its steps."
                    ),
                ),
                ("progress", models.FloatField(blank=True, null=True)),
                ("progress_note", models.CharField(blank=True, default="", max_length=200)),
                (
                    "blocked_on",
                    models.CharField(
                        blank=True,
                        db_default="",
                        default="",
                        help_text="The rate or step limit that blocks a waiting task.",
                        max_length=250,
                    ),
                ),
                (
                    "output_bytes",
                    models.BigIntegerField(
                        db_default=0,
                        default=0,
                        help_text="Total size of its steps' outputs, stored while it waits for other tasks.",
                    ),
                ),
                (
                    "step_limit_queue",
                    models.TextField(
                        db_collation="C",
                        editable=False,
                        help_text="The pipeline whose step limit blocks it.",
                        null=True,
                    ),
                ),
                (
                    "parent_key",
                    models.CharField(
                        blank=True, db_default="", default="", help_text="The key of the parent's step.", max_length=200
                    ),
                ),
                (
                    "parallel_step",
                    models.CharField(
                        blank=True,
                        db_default="",
                        default="",
                        help_text="The step that it runs, if it is a parallel step.",
                        max_length=200,
                    ),
                ),
                (
                    "parallel_limit",
                    models.IntegerField(blank=True, help_text="How many of its siblings may run at a time.", null=True),
                ),
                ("depth", models.SmallIntegerField(db_default=0, default=0, help_text="Number of ancestors.")),
                (
                    "cron_at",
                    models.DateTimeField(blank=True, help_text="The scheduled time, if cron started it.", null=True),
                ),
                (
                    "debounce_key",
                    models.CharField(
                        blank=True,
                        db_default="",
                        default="",
                        help_text="Requests with this key change the task until it is due.",
                        max_length=201,
                    ),
                ),
                (
                    "unique_debounce",
                    models.TextField(
                        db_collation="C",
                        editable=False,
                        help_text="The pipeline and the debounce key, until the task is due.",
                        null=True,
                    ),
                ),
                (
                    "singleton_key",
                    models.CharField(
                        blank=True,
                        db_default="",
                        default="",
                        help_text="Only one task with this key is unfinished at a time.",
                        max_length=201,
                    ),
                ),
                (
                    "unique_singleton",
                    models.TextField(
                        db_collation="C",
                        editable=False,
                        help_text="The pipeline and the singleton key, until the task ends.",
                        null=True,
                    ),
                ),
                (
                    "start_by",
                    models.DateTimeField(blank=True, help_text="Cancelled if it has not started by then.", null=True),
                ),
                (
                    "finish_within",
                    models.DurationField(blank=True, help_text="Cancelled this long after its start.", null=True),
                ),
                (
                    "finish_by",
                    models.DateTimeField(blank=True, help_text="Cancelled if it has not ended by then.", null=True),
                ),
                (
                    "deadline_at",
                    models.DateTimeField(
                        editable=False,
                        help_text="When it is cancelled: while it has not started, or not ended.",
                        null=True,
                    ),
                ),
                (
                    "cancel_grace",
                    models.DurationField(
                        blank=True,
                        help_text="How long after a cancel its worker may finish the current step.",
                        null=True,
                    ),
                ),
                ("cancel_reason", models.CharField(blank=True, db_default="", default="", max_length=300)),
                (
                    "notify_completion",
                    models.BooleanField(
                        db_default=False,
                        default=False,
                        help_text="Whether its completion has to be notified: to a parent, handlers or an event.",
                    ),
                ),
                (
                    "callback_url",
                    models.TextField(
                        blank=True, db_default="", default="", help_text="An address that is called when it has ended."
                    ),
                ),
                (
                    "traceparent",
                    models.TextField(
                        blank=True,
                        db_default="",
                        default="",
                        help_text="The trace that it continues, as a W3C traceparent.",
                    ),
                ),
                (
                    "completion_pending_at",
                    models.DateTimeField(
                        editable=False,
                        help_text="Since when its completion is pending; null before the end and after the notification.",
                        null=True,
                    ),
                ),
                (
                    "version",
                    models.CharField(
                        blank=True,
                        db_default="",
                        default="",
                        help_text="The version of the body that it runs.",
                        max_length=50,
                    ),
                ),
                (
                    "code_began",
                    models.CharField(
                        blank=True,
                        db_default="",
                        default="",
                        help_text="Fingerprint of the code at its start.",
                        max_length=32,
                    ),
                ),
                (
                    "code_ended",
                    models.CharField(
                        blank=True,
                        db_default="",
                        default="",
                        help_text="Fingerprint of the code at its end.",
                        max_length=32,
                    ),
                ),
                (
                    "drift",
                    models.JSONField(
                        blank=True, help_text="Differences between its recorded steps and the code.", null=True
                    ),
                ),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("started_at", models.DateTimeField(blank=True, null=True)),
                ("finished_at", models.DateTimeField(blank=True, null=True)),
                ("retried_at", models.DateTimeField(blank=True, help_text="When a user last retried it.", null=True)),
                (
                    "bulk_operations",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.UUIDField(),
                        blank=True,
                        help_text="The bulk operations that changed or created it.",
                        null=True,
                        size=None,
                    ),
                ),
                (
                    "since",
                    models.DateTimeField(
                        blank=True,
                        editable=False,
                        help_text="Since when it has its status; null before the first change.",
                        null=True,
                    ),
                ),
                (
                    "queued_seconds",
                    models.FloatField(
                        blank=True, editable=False, help_text="Queued, while no worker was free.", null=True
                    ),
                ),
                (
                    "blocked_seconds",
                    models.FloatField(blank=True, editable=False, help_text="Blocked by a limit or a rate.", null=True),
                ),
                (
                    "waiting_seconds",
                    models.FloatField(
                        blank=True,
                        editable=False,
                        help_text="Sleeping, or waiting for an event, child tasks or parallel steps.",
                        null=True,
                    ),
                ),
                (
                    "backoff_seconds",
                    models.FloatField(
                        blank=True, editable=False, help_text="Between a failed attempt and the next one.", null=True
                    ),
                ),
                (
                    "executing_seconds",
                    models.FloatField(blank=True, editable=False, help_text="Executed by a worker.", null=True),
                ),
                (
                    "parent",
                    models.ForeignKey(
                        blank=True,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="children",
                        to="taskqueue.task",
                    ),
                ),
                (
                    "pipeline",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="tasks",
                        to="taskqueue.pipeline",
                    ),
                ),
                (
                    "rerun_of",
                    models.ForeignKey(
                        blank=True,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="reruns",
                        to="taskqueue.task",
                    ),
                ),
            ],
            options={
                "permissions": [
                    ("retry_task", "Can retry task"),
                    ("cancel_task", "Can cancel task"),
                    ("view_task_payload", "Can view payload and result of task"),
                ],
            },
        ),
        migrations.CreateModel(
            name="Event",
            fields=[
                (
                    "id",
                    models.UUIDField(default=taskqueue.ids.uuid7, editable=False, primary_key=True, serialize=False),
                ),
                ("name", models.CharField(db_collation="C", max_length=200)),
                ("data", models.JSONField(blank=True, default=dict)),
                (
                    "external_id",
                    models.CharField(blank=True, default="", help_text="The sender's own id.", max_length=200),
                ),
                (
                    "unique_id",
                    models.CharField(
                        blank=True,
                        default="",
                        help_text="The sender's id while it identifies duplicates; then empty.",
                        max_length=200,
                    ),
                ),
                ("received_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "routed_at",
                    models.DateTimeField(blank=True, help_text="When it was routed to triggers and waits.", null=True),
                ),
                (
                    "closed",
                    models.JSONField(
                        blank=True,
                        db_default={},
                        default=dict,
                        help_text="The pipelines whose tasks the sender may not run (`run`) or cancel (`cancel`).",
                    ),
                ),
                (
                    "traceparent",
                    models.TextField(
                        blank=True,
                        db_default="",
                        default="",
                        help_text="The trace that the tasks it starts continue.",
                    ),
                ),
            ],
        ),
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
                        help_text="The current round has read up to this task.",
                    ),
                ),
                (
                    "due_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(),
                        help_text="When the round continues or the next one begins.",
                    ),
                ),
                ("pruned_at", models.DateTimeField(blank=True, help_text="When a task was last pruned.", null=True)),
                ("total", models.BigIntegerField(default=0, help_text="Tasks pruned so far.")),
            ],
        ),
        migrations.CreateModel(
            name="Worker",
            fields=[
                ("id", models.AutoField(primary_key=True, serialize=False)),
                ("host", models.CharField(max_length=255)),
                ("pid", models.IntegerField()),
                (
                    "thread",
                    models.SmallIntegerField(
                        db_default=0,
                        default=0,
                        help_text="Which thread of its process it is; 0 is the main thread, -1 the event loop of async tasks.",
                    ),
                ),
                (
                    "slots",
                    models.SmallIntegerField(db_default=1, default=1, help_text="How many tasks it executes at once."),
                ),
                (
                    "cluster",
                    models.CharField(help_text="The `manage.py worker` command that started it.", max_length=64),
                ),
                ("version", models.CharField(help_text="Its version of taskqueue.", max_length=50)),
                ("started_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("heartbeat_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("ended_at", models.DateTimeField(blank=True, null=True)),
                ("end_reason", models.CharField(blank=True, default="", max_length=100)),
                (
                    "pipelines",
                    models.JSONField(blank=True, db_default=[], default=list, help_text="The pipelines of its code."),
                ),
                (
                    "queues",
                    models.JSONField(
                        blank=True, db_default=[], default=list, help_text="The queues it takes; empty: all."
                    ),
                ),
                (
                    "not_queues",
                    models.JSONField(blank=True, db_default=[], default=list, help_text="The queues it does not take."),
                ),
                (
                    "draining_at",
                    models.DateTimeField(
                        blank=True, help_text="Since when it finishes its tasks and claims no new ones.", null=True
                    ),
                ),
                (
                    "task_id",
                    models.UUIDField(
                        blank=True,
                        help_text="The task that it ran at its last heartbeat; of several the first.",
                        null=True,
                    ),
                ),
                (
                    "executing",
                    models.SmallIntegerField(
                        db_default=0, default=0, help_text="How many tasks it ran at its last heartbeat."
                    ),
                ),
                ("step", models.CharField(blank=True, default="", max_length=200)),
                ("step_started_at", models.DateTimeField(blank=True, null=True)),
                (
                    "steps",
                    models.JSONField(
                        blank=True,
                        db_default={},
                        default=dict,
                        help_text="Of an event loop: for each task its step, and for how many seconds it ran at the last heartbeat.",
                    ),
                ),
                (
                    "claim_error",
                    models.CharField(
                        blank=True, db_default="", default="", help_text="The error of its last claims.", max_length=300
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="StepSlot",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("concurrency_key", models.CharField(blank=True, db_collation="C", default="", max_length=200)),
                ("lease", models.IntegerField()),
                ("step_key", models.CharField(max_length=200)),
            ],
        ),
        migrations.CreateModel(
            name="Token",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(help_text="What the token is for, such as nightly-import.", max_length=100)),
                ("digest", models.CharField(editable=False, max_length=64, unique=True)),
                (
                    "prefix",
                    models.CharField(
                        editable=False, help_text="The first characters of the secret, to recognise it.", max_length=16
                    ),
                ),
                (
                    "per_minute",
                    models.PositiveIntegerField(
                        blank=True,
                        help_text="Requests per minute. Empty: no limit.",
                        null=True,
                        validators=[django.core.validators.MinValueValidator(1)],
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                ("expires_at", models.DateTimeField(blank=True, help_text="Empty: never.", null=True)),
                (
                    "last_used_at",
                    models.DateTimeField(
                        blank=True,
                        editable=False,
                        help_text="Updated once a minute at most, so that not every request writes.",
                        null=True,
                    ),
                ),
                ("revoked_at", models.DateTimeField(blank=True, editable=False, null=True)),
                (
                    "theoretical_arrival_at",
                    models.DateTimeField(
                        blank=True,
                        editable=False,
                        help_text="GCRA: when the next request would be due if requests came evenly.",
                        null=True,
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Trigger",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("event", models.CharField(db_collation="C", max_length=200)),
                ("match", models.JSONField(blank=True, default=dict)),
                ("position", models.PositiveSmallIntegerField(default=0)),
            ],
        ),
        migrations.CreateModel(
            name="Wait",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "step_key",
                    models.CharField(blank=True, help_text="Empty: the event cancels the task.", max_length=200),
                ),
                (
                    "position",
                    models.PositiveSmallIntegerField(
                        default=0, help_text="Its position among several events of one wait, from 0."
                    ),
                ),
                ("event", models.CharField(db_collation="C", max_length=200)),
                ("match", models.JSONField(blank=True, default=dict)),
                ("fields", models.TextField(blank=True, db_collation="C")),
                ("digest", models.CharField(blank=True, max_length=32)),
                ("until", models.DateTimeField(blank=True, null=True)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "outcome",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("event", "event"),
                            ("timeout", "timeout"),
                            ("closed", "closed"),
                            ("answer", "answer"),
                        ],
                        default="",
                        max_length=16,
                    ),
                ),
                ("resolved_at", models.DateTimeField(blank=True, null=True)),
                (
                    "assignees",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.TextField(),
                        blank=True,
                        help_text="Users and `group:NAME` who may answer; null: events only.",
                        null=True,
                        size=None,
                    ),
                ),
                ("question", models.TextField(blank=True, db_default="", default="")),
                (
                    "answer_schema",
                    models.JSONField(
                        blank=True,
                        help_text="So that processes without the pipeline's code can show the form.",
                        null=True,
                    ),
                ),
                (
                    "answer_model",
                    models.TextField(
                        blank=True,
                        db_default="",
                        default="",
                        help_text="As module:Qualname; empty if it cannot be imported.",
                    ),
                ),
                ("answered_by", models.TextField(blank=True, db_default="", default="")),
            ],
        ),
        migrations.CreateModel(
            name="BulkOperation",
            fields=[
                (
                    "id",
                    models.UUIDField(default=taskqueue.ids.uuid7, editable=False, primary_key=True, serialize=False),
                ),
                (
                    "verb",
                    models.CharField(
                        choices=[("retry", "retry"), ("cancel", "cancel"), ("rerun", "rerun"), ("run-now", "run-now")],
                        max_length=8,
                    ),
                ),
                (
                    "query",
                    models.TextField(
                        blank=True, default="", help_text="The query string of the list that it was started from."
                    ),
                ),
                ("selection", models.JSONField(help_text="The filter, with times as of the start.")),
                ("reason", models.CharField(blank=True, default="", max_length=300)),
                (
                    "started_by",
                    models.CharField(
                        blank=True,
                        default="",
                        help_text="The user's name, kept when the account is deleted.",
                        max_length=150,
                    ),
                ),
                (
                    "estimate",
                    models.PositiveIntegerField(
                        help_text="How many tasks matched at the start; the cap plus one means more than the cap."
                    ),
                ),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("planned", "planned"),
                            ("running", "running"),
                            ("aborted", "aborted"),
                            ("done", "done"),
                        ],
                        max_length=8,
                    ),
                ),
                ("until", models.UUIDField(help_text="The newest task at the start; later tasks are not included.")),
                ("position", models.UUIDField(help_text="Every task up to this one has been processed.")),
                ("processed", models.PositiveIntegerField(db_default=0, default=0)),
                ("changed", models.PositiveIntegerField(db_default=0, default=0)),
                (
                    "skipped",
                    models.PositiveIntegerField(
                        db_default=0, default=0, help_text="Tasks whose status no longer allowed it."
                    ),
                ),
                (
                    "failed",
                    models.PositiveIntegerField(
                        db_default=0, default=0, help_text="Tasks for which the action failed."
                    ),
                ),
                (
                    "refusals",
                    models.JSONField(
                        blank=True, db_default={}, default=dict, help_text="The reasons and how often each occurred."
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                ("started_at", models.DateTimeField(blank=True, null=True)),
                ("finished_at", models.DateTimeField(blank=True, null=True)),
                ("aborted_by", models.CharField(blank=True, db_default="", default="", max_length=150)),
                (
                    "user",
                    models.ForeignKey(
                        blank=True,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="ConcurrencyLimit",
            fields=[
                (
                    "pipeline",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="concurrency_limit",
                        serialize=False,
                        to="taskqueue.pipeline",
                    ),
                ),
                (
                    "tasks",
                    models.PositiveIntegerField(
                        blank=True,
                        help_text="Tasks that run at a time, from start to end. Empty: the number in the code.",
                        null=True,
                        validators=[django.core.validators.MinValueValidator(1)],
                    ),
                ),
                (
                    "tasks_per_key",
                    models.PositiveIntegerField(
                        blank=True,
                        help_text="As above, for each value of the key.",
                        null=True,
                        validators=[django.core.validators.MinValueValidator(1)],
                    ),
                ),
                (
                    "steps",
                    models.PositiveIntegerField(
                        blank=True,
                        help_text="Steps that execute at a time. Empty: the number in the code.",
                        null=True,
                        validators=[django.core.validators.MinValueValidator(1)],
                    ),
                ),
                (
                    "steps_per_key",
                    models.PositiveIntegerField(
                        blank=True,
                        help_text="As above, for each value of the key.",
                        null=True,
                        validators=[django.core.validators.MinValueValidator(1)],
                    ),
                ),
                ("declared_tasks", models.PositiveIntegerField(blank=True, editable=False, null=True)),
                ("declared_tasks_per_key", models.PositiveIntegerField(blank=True, editable=False, null=True)),
                ("declared_steps", models.PositiveIntegerField(blank=True, editable=False, null=True)),
                ("declared_steps_per_key", models.PositiveIntegerField(blank=True, editable=False, null=True)),
                (
                    "key",
                    models.CharField(
                        blank=True,
                        default="",
                        editable=False,
                        help_text="The key of the limit, such as {tenant}.",
                        max_length=200,
                    ),
                ),
                ("rate_is_keyed", models.BooleanField(db_default=False, default=False, editable=False)),
                (
                    "last_served_key",
                    models.CharField(
                        blank=True,
                        db_collation="C",
                        db_default="",
                        default="",
                        editable=False,
                        help_text="The key that was admitted last: keys take turns.",
                        max_length=200,
                    ),
                ),
            ],
            options={
                "verbose_name": "concurrency limit",
            },
        ),
        migrations.CreateModel(
            name="Schedule",
            fields=[
                (
                    "pipeline",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="schedule",
                        serialize=False,
                        to="taskqueue.pipeline",
                    ),
                ),
                ("expression", models.CharField(max_length=200)),
                ("timezone", models.CharField(max_length=64)),
                ("misfire", models.CharField(max_length=8)),
                ("next_at", models.DateTimeField()),
                ("last_at", models.DateTimeField(blank=True, help_text="The last scheduled run.", null=True)),
            ],
        ),
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
                ("until", models.DateTimeField(help_text="The latest time that any process waits for.")),
            ],
        ),
        migrations.CreateModel(
            name="StreamWatch",
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
                ("until", models.DateTimeField(help_text="The latest time that any process asked for.")),
            ],
            options={
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="Chunk",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("step", models.CharField(help_text="The step's key.", max_length=200)),
                ("attempt", models.SmallIntegerField(help_text="The number of the step's attempt, from 1.")),
                (
                    "lease",
                    models.IntegerField(help_text="The lease of the worker: it rises whenever the step begins again."),
                ),
                ("text", models.TextField()),
                (
                    "is_secret",
                    models.BooleanField(
                        db_default=False,
                        default=False,
                        help_text="Whether the task or the step was given secrets, which the text may repeat.",
                    ),
                ),
                (
                    "is_cut",
                    models.BooleanField(
                        db_default=False,
                        default=False,
                        help_text="Stands for all that was written after the task's limit was reached.",
                    ),
                ),
                ("total", models.BigIntegerField(help_text="Bytes of the task's chunks up to this one.")),
                (
                    "task",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="chunks",
                        to="taskqueue.task",
                    ),
                ),
            ],
            options={
                "default_permissions": (),
                "indexes": [models.Index(fields=["task", "id"], name="taskqueue_chunk_by_task")],
            },
        ),
        migrations.CreateModel(
            name="Attempt",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("step_key", models.CharField(blank=True, max_length=200)),
                ("number", models.PositiveIntegerField(help_text="Number of the attempt of this step, from 1.")),
                (
                    "outcome",
                    models.CharField(
                        choices=[
                            ("failed", "failed"),
                            ("timed_out", "timed_out"),
                            ("lost", "lost"),
                            ("stopped", "stopped"),
                        ],
                        max_length=16,
                    ),
                ),
                ("error_type", models.CharField(max_length=200)),
                ("error_message", models.TextField(blank=True)),
                ("traceback", models.TextField(blank=True)),
                ("logs", models.JSONField(blank=True, help_text="Log lines of the attempt.", null=True)),
                ("lease", models.IntegerField()),
                ("started_at", models.DateTimeField()),
                ("finished_at", models.DateTimeField()),
                (
                    "task",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="attempts",
                        to="taskqueue.task",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Overview",
            fields=[],
            options={
                "verbose_name": "overview",
                "verbose_name_plural": "overview",
                "proxy": True,
                "default_permissions": (),
                "indexes": [],
                "constraints": [],
            },
            bases=("taskqueue.task",),
        ),
        migrations.CreateModel(
            name="Question",
            fields=[],
            options={
                "proxy": True,
                "default_permissions": (),
                "indexes": [],
                "constraints": [],
            },
            bases=("taskqueue.wait",),
        ),
        migrations.AddField(
            model_name="task",
            name="event",
            field=models.ForeignKey(
                blank=True,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="started",
                to="taskqueue.event",
            ),
        ),
        migrations.AddField(
            model_name="event",
            name="source",
            field=models.ForeignKey(
                blank=True,
                db_index=False,
                help_text="The task that emitted it.",
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="emitted",
                to="taskqueue.task",
            ),
        ),
        migrations.CreateModel(
            name="IdempotencyKey",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("key", models.CharField(max_length=200)),
                ("expires_at", models.DateTimeField()),
                (
                    "payload_digest",
                    models.CharField(
                        blank=True,
                        db_default="",
                        default="",
                        help_text="Digest of the payload that the key was used with.",
                        max_length=32,
                    ),
                ),
                (
                    "pipeline",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="taskqueue.pipeline",
                    ),
                ),
                (
                    "task",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="idempotency_keys",
                        to="taskqueue.task",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="PipelinePermission",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("run", models.BooleanField(default=False, help_text="Submit and rerun tasks.")),
                (
                    "view_payload",
                    models.BooleanField(
                        default=False, help_text="See payloads, results, and the arguments and outputs of steps."
                    ),
                ),
                ("retry", models.BooleanField(default=False, help_text="Retry tasks.")),
                ("cancel", models.BooleanField(default=False, help_text="Cancel tasks.")),
                (
                    "group",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="auth.group",
                    ),
                ),
                (
                    "pipeline",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="rights",
                        to="taskqueue.pipeline",
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "verbose_name": "pipeline permission",
            },
        ),
        migrations.CreateModel(
            name="PipelineStep",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=200)),
                (
                    "position",
                    models.PositiveSmallIntegerField(help_text="Its position in the code of the body, from 0."),
                ),
                (
                    "atomic",
                    models.BooleanField(
                        default=False, help_text="Whether its ORM writes and its checkpoint are one transaction."
                    ),
                ),
                ("timeout", models.DurationField(blank=True, null=True)),
                ("retry", models.JSONField(default=list, help_text="Seconds between attempts.")),
                (
                    "queue",
                    models.CharField(
                        blank=True,
                        db_default="",
                        default="",
                        help_text="Its queue; empty for the pipeline's.",
                        max_length=100,
                    ),
                ),
                (
                    "pipeline",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="known_steps",
                        to="taskqueue.pipeline",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="RateLimit",
            fields=[
                ("name", models.CharField(db_collation="C", max_length=250, primary_key=True, serialize=False)),
                (
                    "key",
                    models.CharField(
                        blank=True,
                        default="",
                        help_text="The rate is separate for each value of this key.",
                        max_length=200,
                    ),
                ),
                ("declared_count", models.PositiveIntegerField()),
                ("declared_per", models.DurationField()),
                ("declared_burst", models.PositiveIntegerField(default=1)),
                (
                    "count",
                    models.PositiveIntegerField(
                        blank=True,
                        help_text="The count, if it differs from the code.",
                        null=True,
                        validators=[django.core.validators.MinValueValidator(1)],
                    ),
                ),
                (
                    "per",
                    models.DurationField(blank=True, help_text="The period, if it differs from the code.", null=True),
                ),
                (
                    "burst",
                    models.PositiveIntegerField(
                        blank=True,
                        help_text="The burst, if it differs from the code.",
                        null=True,
                        validators=[django.core.validators.MinValueValidator(1)],
                    ),
                ),
                ("changed_at", models.DateTimeField(blank=True, editable=False, null=True)),
                (
                    "updated_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("count__isnull", True), ("count__gte", 1), _connector="OR"),
                            models.Q(("burst__isnull", True), ("burst__gte", 1), _connector="OR"),
                            models.Q(("per__isnull", True), ("per__gt", datetime.timedelta(0)), _connector="OR"),
                        ),
                        name="taskqueue_ratelimit_at_least_one",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="RateLimitBucket",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("key", models.CharField(blank=True, db_collation="C", default="", max_length=200)),
                (
                    "theoretical_arrival_at",
                    models.DateTimeField(help_text="GCRA: when the next admission would be due if they came evenly."),
                ),
                (
                    "passes_at",
                    models.DateTimeField(
                        blank=True,
                        help_text="As above, counting only steps that have passed, at the time when they did.",
                        null=True,
                    ),
                ),
                ("admitted", models.BigIntegerField(db_default=0, default=0, help_text="Admissions so far.")),
                (
                    "last_admitted_at",
                    models.DateTimeField(
                        blank=True, help_text="The time that the last admission was given.", null=True
                    ),
                ),
                (
                    "blocked_until",
                    models.DateTimeField(
                        blank=True,
                        help_text="No admission before this time: RetryAfter or a user blocked the rate.",
                        null=True,
                    ),
                ),
                ("block_reason", models.CharField(blank=True, db_default="", default="", max_length=300)),
                (
                    "rate",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="uses",
                        to="taskqueue.ratelimit",
                    ),
                ),
            ],
            options={
                "verbose_name": "rate limit usage",
                "verbose_name_plural": "rate limit usage",
            },
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
                ("queued_seconds", models.FloatField()),
                ("blocked_seconds", models.FloatField()),
                ("waiting_seconds", models.FloatField()),
                ("backoff_seconds", models.FloatField()),
                ("executing_seconds", models.FloatField()),
            ],
            options={
                "indexes": [models.Index(fields=["finished_at"], name="taskqueue_reopened_by_end")],
            },
        ),
        migrations.CreateModel(
            name="Rollup",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("span", models.PositiveSmallIntegerField(help_text="Length in minutes.")),
                ("at", models.DateTimeField(help_text="Start of the span.")),
                (
                    "pipeline",
                    models.CharField(
                        blank=True, db_collation="C", help_text="Empty: all pipelines together.", max_length=200
                    ),
                ),
                ("succeeded", models.IntegerField(default=0)),
                ("recovered", models.IntegerField(default=0, help_text="Succeeded tasks that had failed attempts.")),
                (
                    "repaired",
                    models.IntegerField(db_default=0, default=0, help_text="Succeeded tasks that a user had retried."),
                ),
                ("failed", models.IntegerField(default=0)),
                ("cancelled", models.IntegerField(default=0)),
                ("failed_attempts", models.IntegerField(default=0, help_text="Failed attempts of steps and bodies.")),
                (
                    "ran",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.IntegerField(), blank=True, default=list, size=None
                    ),
                ),
                (
                    "waited",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.IntegerField(), blank=True, default=list, size=None
                    ),
                ),
                ("queued_seconds", models.FloatField(db_default=0, default=0)),
                ("blocked_seconds", models.FloatField(db_default=0, default=0)),
                ("waiting_seconds", models.FloatField(db_default=0, default=0)),
                ("backoff_seconds", models.FloatField(db_default=0, default=0)),
                ("executing_seconds", models.FloatField(db_default=0, default=0)),
                (
                    "sampled_blocked_seconds",
                    models.IntegerField(
                        default=0, help_text="Seconds that tasks were blocked by limits and rates; sampled."
                    ),
                ),
                ("queued", models.IntegerField(blank=True, help_text="Queue depth; sampled.", null=True)),
                (
                    "oldest_seconds",
                    models.IntegerField(blank=True, help_text="Age of the oldest queued task; sampled.", null=True),
                ),
            ],
            options={
                "indexes": [models.Index(fields=["span", "at"], name="taskqueue_rollup_by_time")],
                "constraints": [
                    models.UniqueConstraint(fields=("span", "pipeline", "at"), name="taskqueue_rollup_once"),
                    models.CheckConstraint(
                        condition=models.Q(("span__in", [1, 15])), name="taskqueue_rollup_span_known"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="RollupMark",
            fields=[
                ("id", models.PositiveSmallIntegerField(default=1, primary_key=True, serialize=False)),
                ("final_until", models.DateTimeField(help_text="Rollups before this time are final.")),
                (
                    "rolled_up_until",
                    models.DateTimeField(help_text="Tasks that ended after this time are not counted yet."),
                ),
                (
                    "moved_at",
                    models.DateTimeField(blank=True, help_text="When the rollups were last updated.", null=True),
                ),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(condition=models.Q(("id", 1)), name="taskqueue_rollupmark_alone"),
                    models.CheckConstraint(
                        condition=models.Q(("final_until__lte", models.F("rolled_up_until"))),
                        name="taskqueue_rollupmark_in_order",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Skip",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("duplicate", "duplicate"),
                            ("singleton", "singleton"),
                            ("debounced", "debounced"),
                            ("batched", "batched"),
                            ("misfire", "misfire"),
                            ("paused", "paused"),
                            ("invalid", "invalid"),
                            ("deferred", "deferred"),
                            ("unknown", "unknown"),
                            ("not-permitted", "not-permitted"),
                        ],
                        max_length=16,
                    ),
                ),
                ("reason", models.CharField(max_length=500)),
                ("key", models.CharField(blank=True, default="", max_length=200)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "event",
                    models.ForeignKey(
                        blank=True,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="skips",
                        to="taskqueue.event",
                    ),
                ),
                (
                    "pipeline",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="skips",
                        to="taskqueue.pipeline",
                    ),
                ),
                (
                    "task",
                    models.ForeignKey(
                        blank=True,
                        db_index=False,
                        help_text="The existing task that was returned or changed.",
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="skips",
                        to="taskqueue.task",
                    ),
                ),
            ],
            options={
                "verbose_name": "skipped request",
            },
        ),
        migrations.CreateModel(
            name="Step",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "key",
                    models.CharField(help_text="The step's name, with #2, #3 … for further calls.", max_length=200),
                ),
                ("name", models.CharField(max_length=200)),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("step", "step"),
                            ("parallel", "parallel"),
                            ("child", "child"),
                            ("sleep", "sleep"),
                            ("wait", "wait"),
                            ("emit", "emit"),
                        ],
                        db_default=taskqueue.states.StepKind["STEP"],
                        default=taskqueue.states.StepKind["STEP"],
                        max_length=8,
                    ),
                ),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("waiting", "waiting"),
                            ("succeeded", "succeeded"),
                            ("retrying", "retrying"),
                            ("failed", "failed"),
                        ],
                        max_length=16,
                    ),
                ),
                (
                    "failures",
                    models.SmallIntegerField(default=0, help_text="Failed attempts since the last retry by a user."),
                ),
                ("input", models.JSONField(blank=True, null=True)),
                ("input_hash", models.CharField(max_length=32)),
                ("output", models.JSONField(blank=True, null=True)),
                (
                    "error",
                    models.JSONField(blank=True, help_text="Type and message of the last failed attempt.", null=True),
                ),
                ("logs", models.JSONField(blank=True, help_text="Log lines of the successful attempt.", null=True)),
                ("until", models.DateTimeField(blank=True, help_text="When a waiting step ends by itself.", null=True)),
                ("started_at", models.DateTimeField()),
                ("finished_at", models.DateTimeField()),
                (
                    "child",
                    models.ForeignKey(
                        blank=True,
                        db_index=False,
                        help_text="The child task that runs it.",
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to="taskqueue.task",
                    ),
                ),
                (
                    "task",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="steps",
                        to="taskqueue.task",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="StepReport",
            fields=[
                (
                    "task_id",
                    models.UUIDField(help_text="The task of the step.", primary_key=True, serialize=False),
                ),
                (
                    "worker",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="reports",
                        to="taskqueue.worker",
                    ),
                ),
                ("lease", models.IntegerField(help_text="The worker's lease of the task.")),
                ("step", models.CharField(help_text="The step's key.", max_length=200)),
                ("logs", models.JSONField(blank=True, null=True)),
                ("stack", models.TextField(blank=True, default="")),
                ("reported_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                "default_permissions": (),
            },
        ),
        migrations.AddIndex(
            model_name="worker",
            index=models.Index(
                models.F("heartbeat_at"), condition=models.Q(("ended_at__isnull", True)), name="taskqueue_worker_live"
            ),
        ),
        migrations.AddField(
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
        migrations.AddField(
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
        migrations.AddField(
            model_name="stepslot",
            name="pipeline",
            field=models.ForeignKey(
                db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name="+", to="taskqueue.pipeline"
            ),
        ),
        migrations.AddField(
            model_name="stepslot",
            name="task",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="step_slots",
                to="taskqueue.task",
            ),
        ),
        migrations.AddField(
            model_name="token",
            name="user",
            field=models.ForeignKey(
                help_text="The token has this user's permissions. Best is a separate user without a login.",
                on_delete=django.db.models.deletion.CASCADE,
                related_name="taskqueue_tokens",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="trigger",
            name="pipeline",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="triggers",
                to="taskqueue.pipeline",
            ),
        ),
        migrations.AddField(
            model_name="wait",
            name="resolved_by",
            field=models.ForeignKey(
                blank=True,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="resolved",
                to="taskqueue.event",
            ),
        ),
        migrations.AddField(
            model_name="wait",
            name="task",
            field=models.ForeignKey(
                db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name="waits", to="taskqueue.task"
            ),
        ),
        migrations.AddIndex(
            model_name="bulkoperation",
            index=models.Index(
                condition=models.Q(("finished_at__isnull", True)), fields=["id"], name="taskqueue_bulkoperation_open"
            ),
        ),
        migrations.AddIndex(
            model_name="bulkoperation",
            index=models.Index(
                condition=models.Q(("finished_at__isnull", False)),
                fields=["finished_at"],
                name="taskqueue_bulkoperation_ended",
            ),
        ),
        migrations.AddConstraint(
            model_name="bulkoperation",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "verb__in",
                        [
                            taskqueue.states.BulkOperationVerb["RETRY"],
                            taskqueue.states.BulkOperationVerb["CANCEL"],
                            taskqueue.states.BulkOperationVerb["RERUN"],
                            taskqueue.states.BulkOperationVerb["RUN_NOW"],
                        ],
                    )
                ),
                name="taskqueue_bulkoperation_verb_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="bulkoperation",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "status__in",
                        [
                            taskqueue.states.BulkOperationStatus["PLANNED"],
                            taskqueue.states.BulkOperationStatus["RUNNING"],
                            taskqueue.states.BulkOperationStatus["ABORTED"],
                            taskqueue.states.BulkOperationStatus["DONE"],
                        ],
                    )
                ),
                name="taskqueue_bulkoperation_status_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="bulkoperation",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("finished_at__isnull", False), ("status__in", ["aborted", "done"])),
                    models.Q(("finished_at__isnull", True), ("status__in", ["planned", "running"])),
                    _connector="OR",
                ),
                name="taskqueue_bulkoperation_ended_has_finish",
            ),
        ),
        migrations.AddField(
            model_name="concurrencylimit",
            name="rate",
            field=models.ForeignKey(
                blank=True,
                editable=False,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="concurrency_limits",
                to="taskqueue.ratelimit",
            ),
        ),
        migrations.AddIndex(
            model_name="schedule",
            index=models.Index(fields=["next_at"], name="taskqueue_schedule_next"),
        ),
        migrations.AddIndex(
            model_name="event",
            index=models.Index(fields=["name", "-id"], name="taskqueue_event_by_name"),
        ),
        migrations.AddIndex(
            model_name="event",
            index=django.contrib.postgres.indexes.GinIndex(
                fields=["data"], name="taskqueue_event_by_data", opclasses=["jsonb_path_ops"]
            ),
        ),
        migrations.AddIndex(
            model_name="event",
            index=models.Index(
                condition=models.Q(("routed_at__isnull", True)), fields=["id"], name="taskqueue_event_unrouted"
            ),
        ),
        migrations.AddIndex(
            model_name="event",
            index=models.Index(
                condition=models.Q(("source__isnull", False)), fields=["source"], name="taskqueue_event_by_source"
            ),
        ),
        migrations.AddConstraint(
            model_name="event",
            constraint=models.UniqueConstraint(
                condition=models.Q(("unique_id", ""), _negated=True), fields=("unique_id",), name="taskqueue_event_once"
            ),
        ),
        migrations.AddIndex(
            model_name="idempotencykey",
            index=models.Index(fields=["expires_at"], name="taskqueue_key_expiry"),
        ),
        migrations.AddConstraint(
            model_name="idempotencykey",
            constraint=models.UniqueConstraint(fields=("pipeline", "key"), name="taskqueue_idempotencykey_once"),
        ),
        migrations.AddIndex(
            model_name="pipelinepermission",
            index=models.Index(fields=["pipeline"], name="taskqueue_permission_pipeline"),
        ),
        migrations.AddConstraint(
            model_name="pipelinepermission",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("group__isnull", True), ("user__isnull", False)),
                    models.Q(("group__isnull", False), ("user__isnull", True)),
                    _connector="OR",
                ),
                name="taskqueue_pipelinepermission_of_one",
                violation_error_message="A permission belongs to a user or to a group: choose one.",
            ),
        ),
        migrations.AddConstraint(
            model_name="pipelinepermission",
            constraint=models.UniqueConstraint(
                condition=models.Q(("user__isnull", False)),
                fields=("pipeline", "user"),
                name="taskqueue_pipelinepermission_once_per_user",
            ),
        ),
        migrations.AddConstraint(
            model_name="pipelinepermission",
            constraint=models.UniqueConstraint(
                condition=models.Q(("group__isnull", False)),
                fields=("pipeline", "group"),
                name="taskqueue_pipelinepermission_once_per_group",
            ),
        ),
        migrations.AddConstraint(
            model_name="pipelinestep",
            constraint=models.UniqueConstraint(fields=("pipeline", "name"), name="taskqueue_pipelinestep_name_once"),
        ),
        migrations.AddConstraint(
            model_name="ratelimitbucket",
            constraint=models.UniqueConstraint(fields=("rate", "key"), name="taskqueue_ratelimitbucket_once"),
        ),
        migrations.AddIndex(
            model_name="skip",
            index=models.Index(fields=["pipeline", "-id"], name="taskqueue_skip_by_pipeline"),
        ),
        migrations.AddIndex(
            model_name="skip",
            index=models.Index(
                condition=models.Q(("task__isnull", False)), fields=["task"], name="taskqueue_skip_by_task"
            ),
        ),
        migrations.AddIndex(
            model_name="skip",
            index=models.Index(
                condition=models.Q(("event__isnull", False)), fields=["event"], name="taskqueue_skip_by_event"
            ),
        ),
        migrations.AddIndex(
            model_name="skip",
            index=models.Index(
                condition=models.Q(("kind", taskqueue.states.SkipKind["DEFERRED"])),
                fields=["pipeline", "id"],
                name="taskqueue_skip_deferred",
            ),
        ),
        migrations.AddIndex(
            model_name="skip",
            index=models.Index(
                condition=models.Q(("kind", taskqueue.states.SkipKind["MISFIRE"])),
                fields=["created_at"],
                name="taskqueue_skip_misfire",
            ),
        ),
        migrations.AddConstraint(
            model_name="skip",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "kind__in",
                        [
                            taskqueue.states.SkipKind["DUPLICATE"],
                            taskqueue.states.SkipKind["SINGLETON"],
                            taskqueue.states.SkipKind["DEBOUNCED"],
                            taskqueue.states.SkipKind["BATCHED"],
                            taskqueue.states.SkipKind["MISFIRE"],
                            taskqueue.states.SkipKind["PAUSED"],
                            taskqueue.states.SkipKind["INVALID"],
                            taskqueue.states.SkipKind["DEFERRED"],
                            taskqueue.states.SkipKind["UNKNOWN"],
                            taskqueue.states.SkipKind["NOT_PERMITTED"],
                        ],
                    )
                ),
                name="taskqueue_skip_kind_known",
            ),
        ),
        migrations.AddIndex(
            model_name="step",
            index=models.Index(
                condition=models.Q(("child__isnull", False)), fields=["child"], name="taskqueue_step_by_child"
            ),
        ),
        migrations.AddConstraint(
            model_name="step",
            constraint=models.UniqueConstraint(fields=("task", "key"), name="taskqueue_step_key_once"),
        ),
        migrations.AddIndex(
            model_name="task",
            index=models.Index(
                models.F("ready_queue"),
                models.F("sort_at"),
                models.F("id"),
                condition=models.Q(("ready_queue__isnull", False)),
                name="taskqueue_task_claim",
            ),
        ),
        migrations.AddIndex(
            model_name="task",
            index=models.Index(
                models.F("blocked_queue"),
                models.F("concurrency_key"),
                models.F("sort_at"),
                models.F("id"),
                condition=models.Q(("blocked_queue__isnull", False)),
                name="taskqueue_task_groups",
            ),
        ),
        migrations.AddIndex(
            model_name="task",
            index=models.Index(
                models.F("slot_pipeline"),
                models.F("concurrency_key"),
                condition=models.Q(("slot_pipeline__isnull", False)),
                name="taskqueue_task_places",
            ),
        ),
        migrations.AddIndex(
            model_name="task",
            index=models.Index(
                models.F("step_limit_queue"),
                models.F("id"),
                condition=models.Q(("step_limit_queue__isnull", False)),
                name="taskqueue_task_at_step",
            ),
        ),
        migrations.AddIndex(
            model_name="task",
            index=models.Index(
                models.F("deadline_at"),
                condition=models.Q(("deadline_at__isnull", False)),
                name="taskqueue_task_deadline",
            ),
        ),
        migrations.AddIndex(
            model_name="task",
            index=models.Index(
                models.F("completion_pending_at"),
                condition=models.Q(("completion_pending_at__isnull", False)),
                name="taskqueue_task_completion",
            ),
        ),
        migrations.AddIndex(
            model_name="task",
            index=models.Index(
                models.F("parent"),
                models.F("id"),
                condition=models.Q(("parent__isnull", False)),
                name="taskqueue_task_by_parent",
            ),
        ),
        migrations.AddIndex(
            model_name="task",
            index=models.Index(
                models.F("event"), condition=models.Q(("event__isnull", False)), name="taskqueue_task_by_event"
            ),
        ),
        migrations.AddIndex(
            model_name="task",
            index=models.Index(
                models.F("timer_at"), condition=models.Q(("timer_at__isnull", False)), name="taskqueue_task_timer"
            ),
        ),
        migrations.AddIndex(
            model_name="task",
            index=models.Index(
                models.F("worker"),
                condition=models.Q(("started_at__isnull", False), ("status", taskqueue.states.TaskStatus["RUNNING"])),
                name="taskqueue_task_held",
            ),
        ),
        migrations.AddIndex(
            model_name="task",
            index=models.Index(fields=["status", "-id"], name="taskqueue_task_by_status"),
        ),
        migrations.AddIndex(
            model_name="task",
            index=models.Index(fields=["pipeline", "-id"], name="taskqueue_task_by_pipeline"),
        ),
        migrations.AddIndex(
            model_name="task",
            index=models.Index(
                models.F("finished_at"),
                condition=models.Q(("finished_at__isnull", False)),
                name="taskqueue_task_by_end",
            ),
        ),
        migrations.AddIndex(
            model_name="task",
            index=models.Index(
                condition=models.Q(("error__isnull", False)), fields=["finished_at"], name="taskqueue_task_failed"
            ),
        ),
        migrations.AddIndex(
            model_name="task",
            index=models.Index(
                models.F("rerun_of"), condition=models.Q(("rerun_of__isnull", False)), name="taskqueue_task_reruns"
            ),
        ),
        migrations.AddIndex(
            model_name="task",
            index=models.Index(
                condition=models.Q(("subject", ""), _negated=True),
                fields=["subject", "-id"],
                name="taskqueue_task_by_subject",
            ),
        ),
        migrations.AddIndex(
            model_name="task",
            index=models.Index(
                condition=models.Q(("key", ""), _negated=True),
                fields=["key"],
                name="taskqueue_task_by_key",
                opclasses=["varchar_pattern_ops"],
            ),
        ),
        migrations.AddConstraint(
            model_name="task",
            constraint=models.UniqueConstraint(
                condition=models.Q(("unique_singleton__isnull", False)),
                fields=("unique_singleton",),
                name="taskqueue_task_singleton_once",
            ),
        ),
        migrations.AddConstraint(
            model_name="task",
            constraint=models.UniqueConstraint(
                condition=models.Q(("unique_debounce__isnull", False)),
                fields=("unique_debounce",),
                name="taskqueue_task_debounce_once",
            ),
        ),
        migrations.AddConstraint(
            model_name="task",
            constraint=models.UniqueConstraint(
                condition=models.Q(("cron_at__isnull", False)),
                fields=("pipeline", "cron_at"),
                name="taskqueue_task_tick_once",
            ),
        ),
        migrations.AddIndex(
            model_name="attempt",
            index=models.Index(fields=["finished_at"], name="taskqueue_attempt_by_end"),
        ),
        migrations.AddIndex(
            model_name="attempt",
            index=models.Index(fields=["error_type"], name="taskqueue_attempt_by_error"),
        ),
        migrations.AddConstraint(
            model_name="attempt",
            constraint=models.UniqueConstraint(
                fields=("task", "step_key", "number"), name="taskqueue_attempt_number_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="attempt",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "outcome__in",
                        [
                            taskqueue.states.AttemptOutcome["FAILED"],
                            taskqueue.states.AttemptOutcome["TIMED_OUT"],
                            taskqueue.states.AttemptOutcome["LOST"],
                            taskqueue.states.AttemptOutcome["STOPPED"],
                        ],
                    )
                ),
                name="taskqueue_attempt_outcome_known",
            ),
        ),
        migrations.AddIndex(
            model_name="stepslot",
            index=models.Index(fields=["pipeline", "concurrency_key"], name="taskqueue_stepslot_counted"),
        ),
        migrations.AddConstraint(
            model_name="stepslot",
            constraint=models.UniqueConstraint(fields=("task", "step_key"), name="taskqueue_stepslot_once"),
        ),
        migrations.AddConstraint(
            model_name="token",
            constraint=models.CheckConstraint(
                condition=models.Q(("per_minute__isnull", True), ("per_minute__gte", 1), _connector="OR"),
                name="taskqueue_token_at_least_one",
            ),
        ),
        migrations.AddIndex(
            model_name="trigger",
            index=models.Index(fields=["event"], name="taskqueue_trigger_by_event"),
        ),
        migrations.AddConstraint(
            model_name="trigger",
            constraint=models.UniqueConstraint(fields=("pipeline", "position"), name="taskqueue_trigger_position_once"),
        ),
        migrations.AddIndex(
            model_name="wait",
            index=models.Index(
                condition=models.Q(("outcome", "")), fields=["event", "fields", "digest"], name="taskqueue_wait_open"
            ),
        ),
        migrations.AddIndex(
            model_name="wait",
            index=models.Index(
                condition=models.Q(("resolved_by__isnull", False)),
                fields=["resolved_by"],
                name="taskqueue_wait_by_event",
            ),
        ),
        migrations.AddIndex(
            model_name="wait",
            index=models.Index(
                condition=models.Q(("assignees__isnull", False), ("outcome", "")),
                fields=["-id"],
                name="taskqueue_wait_question",
            ),
        ),
        migrations.AddConstraint(
            model_name="wait",
            constraint=models.UniqueConstraint(
                fields=("task", "step_key", "position"), name="taskqueue_wait_position_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="wait",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("outcome", ""),
                    (
                        "outcome__in",
                        [
                            taskqueue.states.WaitOutcome["EVENT"],
                            taskqueue.states.WaitOutcome["TIMEOUT"],
                            taskqueue.states.WaitOutcome["CLOSED"],
                            taskqueue.states.WaitOutcome["ANSWER"],
                        ],
                    ),
                    _connector="OR",
                ),
                name="taskqueue_wait_outcome_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="concurrencylimit",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("tasks", 0), _negated=True),
                    models.Q(("tasks_per_key", 0), _negated=True),
                    models.Q(("steps", 0), _negated=True),
                    models.Q(("steps_per_key", 0), _negated=True),
                ),
                name="taskqueue_concurrencylimit_at_least_one",
            ),
        ),
        migrations.CreateModel(
            name="Subscription",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("address", models.CharField(help_text="The URL that is called, with https.", max_length=2000)),
                (
                    "description",
                    models.CharField(
                        blank=True, db_default="", default="", help_text="What it is for.", max_length=200
                    ),
                ),
                (
                    "pipelines",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=201),
                        blank=True,
                        default=list,
                        help_text="Names of pipelines, or their beginnings with an asterisk, such as shop/*. Empty: all.",
                        size=None,
                    ),
                ),
                (
                    "labels",
                    models.JSONField(blank=True, default=dict, help_text="Labels that the task must have. Empty: any."),
                ),
                (
                    "endings",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=16),
                        default=taskqueue.models.subscription.all_endings,
                        help_text="The ends that it is called for.",
                        size=None,
                    ),
                ),
                (
                    "secret",
                    models.CharField(
                        default=taskqueue.webhooks.signatures.new_secret,
                        editable=False,
                        help_text="Signs each request.",
                        max_length=100,
                    ),
                ),
                (
                    "old_secret",
                    models.CharField(
                        blank=True,
                        db_default="",
                        default="",
                        editable=False,
                        help_text="Signs too, after a rotation.",
                        max_length=100,
                    ),
                ),
                (
                    "old_secret_until",
                    models.DateTimeField(
                        blank=True, editable=False, help_text="Until when the old secret signs.", null=True
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                (
                    "disabled_at",
                    models.DateTimeField(
                        blank=True, editable=False, help_text="Since when it is not called.", null=True
                    ),
                ),
                (
                    "disabled_reason",
                    models.CharField(blank=True, db_default="", default="", editable=False, max_length=300),
                ),
                (
                    "failures",
                    models.IntegerField(
                        db_default=0,
                        default=0,
                        editable=False,
                        help_text="How many of its last deliveries have failed in a row.",
                    ),
                ),
                (
                    "failing_since",
                    models.DateTimeField(
                        blank=True, editable=False, help_text="The first of these failures.", null=True
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        blank=True,
                        editable=False,
                        help_text="The user who saved it last: it is sent what this user may see. Null: everything.",
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("endings__contained_by", ["succeeded", "failed", "cancelled"]),
                            models.Q(("endings", []), _negated=True),
                        ),
                        name="taskqueue_subscription_endings_known",
                        violation_error_message="Choose one or more of the endings.",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="AlertRule",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(help_text="What messages and lists call it.", max_length=100, unique=True)),
                ("condition", models.CharField(help_text="What is checked.", max_length=40)),
                (
                    "threshold",
                    models.FloatField(help_text="From this value on the condition holds; of live workers, below it."),
                ),
                (
                    "subjects",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=250),
                        blank=True,
                        default=list,
                        help_text="The pipelines or queues that it covers, or their beginnings with an asterisk, such as shop/*, with commas. Empty: all.",
                        size=None,
                    ),
                ),
                (
                    "hold_for",
                    models.DurationField(
                        default=datetime.timedelta(0),
                        help_text="How long the condition must hold before it fires: hours:minutes:seconds.",
                        verbose_name="for",
                    ),
                ),
                (
                    "repeat_every",
                    models.DurationField(
                        blank=True,
                        default=datetime.timedelta(seconds=14400),
                        help_text="How often to remind while it fires: hours:minutes:seconds. Empty: never.",
                        null=True,
                        verbose_name="repeat",
                    ),
                ),
                ("mail_addresses", models.TextField(blank=True, default="", help_text="One address in each line.")),
                (
                    "slack_addresses",
                    models.TextField(
                        blank=True,
                        default="",
                        help_text='Incoming webhooks of Slack, or of a chat that takes the same JSON, {"text": "…"}. One in each line.',
                        verbose_name="Slack addresses",
                    ),
                ),
                (
                    "webhook_addresses",
                    models.TextField(
                        blank=True,
                        default="",
                        help_text="Addresses that are sent the alert as JSON, signed as Standard Webhooks. One in each line.",
                    ),
                ),
                (
                    "is_enabled",
                    models.BooleanField(
                        db_default=True, default=True, help_text="Whether it is checked.", verbose_name="enabled"
                    ),
                ),
                (
                    "silenced_until",
                    models.DateTimeField(
                        blank=True, editable=False, help_text="Until when it sends nothing.", null=True
                    ),
                ),
                (
                    "silenced_by",
                    models.CharField(blank=True, db_default="", default="", editable=False, max_length=150),
                ),
                (
                    "silence_reason",
                    models.CharField(blank=True, db_default="", default="", editable=False, max_length=300),
                ),
                (
                    "evaluated_at",
                    models.DateTimeField(blank=True, editable=False, help_text="When it was last checked.", null=True),
                ),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
            ],
            options={
                "ordering": ("name",),
            },
        ),
        migrations.CreateModel(
            name="Alert",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "subject",
                    models.CharField(
                        blank=True,
                        default="",
                        help_text="The pipeline, queue or subscription; empty for the whole service.",
                        max_length=250,
                    ),
                ),
                ("value", models.FloatField()),
                ("text", models.CharField(max_length=500)),
                (
                    "link",
                    models.CharField(
                        help_text="The page behind it, below that of the app in the admin.", max_length=1000
                    ),
                ),
                ("pending_since", models.DateTimeField()),
                ("firing_since", models.DateTimeField(blank=True, help_text="Null: pending.", null=True)),
                (
                    "notified_at",
                    models.DateTimeField(
                        blank=True, help_text="When a message was last enqueued; null: not yet.", null=True
                    ),
                ),
                (
                    "rule",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="alerts",
                        to="taskqueue.alertrule",
                    ),
                ),
            ],
            options={
                "default_permissions": (),
                "constraints": [models.UniqueConstraint(fields=("rule", "subject"), name="taskqueue_alert_once")],
            },
        ),
        migrations.RunSQL(STORAGE, migrations.RunSQL.noop),
        migrations.RunSQL(COVERS, NO_COVERS),
        migrations.RunSQL(TASK_ROW, NO_TASK_ROW),
        migrations.RunSQL(STEP_ROW, NO_STEP_ROW),
    ]
