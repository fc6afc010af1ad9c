"""Limits, rates, waits, events, families of tasks, clocks, deadlines and versions."""

import datetime

import django.contrib.postgres.indexes
import django.core.validators
import django.db.models.deletion
import django.db.models.functions.comparison
import django.db.models.functions.datetime
from django.db import migrations, models

import taskqueue.ids
import taskqueue.models.task
import taskqueue.states


class Migration(migrations.Migration):
    dependencies = [
        ("taskqueue", "0002_storage"),
    ]

    operations = [
        # The expression of a generated column cannot be altered: it goes, and comes again below.
        migrations.RemoveIndex(model_name="task", name="taskqueue_task_claim"),
        migrations.RemoveField(model_name="task", name="lane"),
        migrations.RemoveConstraint(
            model_name="attempt",
            name="taskqueue_attempt_outcome_known",
        ),
        migrations.RemoveConstraint(
            model_name="step",
            name="taskqueue_step_status_known",
        ),
        migrations.RemoveConstraint(
            model_name="step",
            name="taskqueue_step_error_unless_succeeded",
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
                        help_text="The sender's id, for as long as it makes duplicates.",
                        max_length=200,
                    ),
                ),
                ("received_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "routed_at",
                    models.DateTimeField(blank=True, help_text="When it reached those who listened.", null=True),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Gate",
            fields=[
                (
                    "pipeline",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="gate",
                        serialize=False,
                        to="taskqueue.pipeline",
                    ),
                ),
                (
                    "tasks",
                    models.PositiveIntegerField(
                        blank=True,
                        help_text="Whole tasks at a time, from their start to their end. Empty: what the code says.",
                        null=True,
                        validators=[django.core.validators.MinValueValidator(1)],
                    ),
                ),
                (
                    "tasks_per_key",
                    models.PositiveIntegerField(
                        blank=True,
                        help_text="The same, for each value of the key.",
                        null=True,
                        validators=[django.core.validators.MinValueValidator(1)],
                    ),
                ),
                (
                    "steps",
                    models.PositiveIntegerField(
                        blank=True,
                        help_text="Steps that execute at a time. Empty: what the code says.",
                        null=True,
                        validators=[django.core.validators.MinValueValidator(1)],
                    ),
                ),
                (
                    "steps_per_key",
                    models.PositiveIntegerField(
                        blank=True,
                        help_text="The same, for each value of the key.",
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
                        help_text="What tasks are grouped by, such as {tenant}.",
                        max_length=200,
                    ),
                ),
                ("rate_is_keyed", models.BooleanField(db_default=False, default=False, editable=False)),
                (
                    "last_group",
                    models.CharField(
                        blank=True,
                        db_collation="C",
                        db_default="",
                        default="",
                        editable=False,
                        help_text="Whose turn it was last: keys take turns.",
                        max_length=200,
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Rate",
            fields=[
                ("name", models.CharField(db_collation="C", max_length=250, primary_key=True, serialize=False)),
                (
                    "key",
                    models.CharField(
                        blank=True, default="", help_text="Kept for each value of this key.", max_length=200
                    ),
                ),
                ("declared_count", models.PositiveIntegerField()),
                ("declared_per", models.DurationField()),
                ("declared_burst", models.PositiveIntegerField(default=1)),
                (
                    "count",
                    models.PositiveIntegerField(
                        blank=True,
                        help_text="How many instead of what the code says.",
                        null=True,
                        validators=[django.core.validators.MinValueValidator(1)],
                    ),
                ),
                (
                    "per",
                    models.DurationField(blank=True, help_text="In each period of this length instead.", null=True),
                ),
                (
                    "burst",
                    models.PositiveIntegerField(
                        blank=True,
                        help_text="How many may go at once instead.",
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
        ),
        migrations.CreateModel(
            name="RateUse",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("key", models.CharField(blank=True, db_collation="C", default="", max_length=200)),
                ("arrival_at", models.DateTimeField(help_text="When the next one would be due if all came evenly.")),
                (
                    "passes_at",
                    models.DateTimeField(
                        blank=True,
                        help_text="The same, counting only steps that have passed, and when they really did.",
                        null=True,
                    ),
                ),
                (
                    "admitted",
                    models.BigIntegerField(db_default=0, default=0, help_text="How many have been let through."),
                ),
                (
                    "admitted_at",
                    models.DateTimeField(blank=True, help_text="The time that the last one was given.", null=True),
                ),
                (
                    "held_until",
                    models.DateTimeField(blank=True, help_text="Nobody passes before, as RetryAfter asked.", null=True),
                ),
                ("hold_reason", models.CharField(blank=True, db_default="", default="", max_length=300)),
            ],
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
                ("last_at", models.DateTimeField(blank=True, help_text="The last tick that was taken.", null=True)),
            ],
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
                        ],
                        max_length=16,
                    ),
                ),
                ("reason", models.CharField(max_length=500)),
                ("key", models.CharField(blank=True, default="", max_length=200)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
        ),
        migrations.CreateModel(
            name="StepSlot",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("group", models.CharField(blank=True, db_collation="C", default="", max_length=200)),
                ("lease", models.IntegerField()),
                ("step_key", models.CharField(max_length=200)),
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
                ("position", models.PositiveSmallIntegerField(default=0, help_text="Which of several it is, from 0.")),
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
                        choices=[("event", "event"), ("timeout", "timeout"), ("closed", "closed")],
                        default="",
                        max_length=16,
                    ),
                ),
                ("resolved_at", models.DateTimeField(blank=True, null=True)),
            ],
        ),
        migrations.AlterModelOptions(
            name="pipeline",
            options={"permissions": [("pause_pipeline", "Can pause and resume pipeline")]},
        ),
        migrations.AddField(
            model_name="pipeline",
            name="announces",
            field=models.BooleanField(
                db_default=False, default=False, help_text="Whether its tasks emit an event when they end."
            ),
        ),
        migrations.AddField(
            model_name="pipeline",
            name="fingerprint",
            field=models.CharField(
                blank=True, db_default="", default="", help_text="Of the code of body and steps.", max_length=32
            ),
        ),
        migrations.AddField(
            model_name="pipeline",
            name="has_handlers",
            field=models.BooleanField(
                db_default=False, default=False, help_text="Whether on_failure or on_cancel runs after its tasks."
            ),
        ),
        migrations.AddField(
            model_name="pipeline",
            name="pause_reason",
            field=models.CharField(blank=True, db_default="", default="", max_length=300),
        ),
        migrations.AddField(
            model_name="pipeline",
            name="paused_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="pipeline",
            name="paused_by",
            field=models.CharField(blank=True, db_default="", default="", max_length=150),
        ),
        migrations.AddField(
            model_name="pipeline",
            name="policies",
            field=models.JSONField(
                blank=True, db_default={}, default=dict, help_text="What else the code says: limits, rates, starts."
            ),
        ),
        migrations.AddField(
            model_name="pipeline",
            name="version",
            field=models.CharField(
                blank=True, db_default="", default="", help_text="Of the body that new tasks run.", max_length=50
            ),
        ),
        migrations.AddField(
            model_name="step",
            name="child",
            field=models.ForeignKey(
                blank=True,
                db_index=False,
                help_text="The task that does it.",
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to="taskqueue.task",
            ),
        ),
        migrations.AddField(
            model_name="step",
            name="kind",
            field=models.CharField(
                choices=[
                    ("step", "step"),
                    ("branch", "branch"),
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
        migrations.AddField(
            model_name="step",
            name="until",
            field=models.DateTimeField(blank=True, help_text="When a waiting one is over by itself.", null=True),
        ),
        migrations.AddField(
            model_name="task",
            name="admitted_at",
            field=models.DateTimeField(
                blank=True,
                help_text="Since when it holds a place under its pipeline's limits; until it ends.",
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="task",
            name="branch",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="The step that it runs beside its siblings, if it is one.",
                max_length=200,
            ),
        ),
        migrations.AddField(
            model_name="task",
            name="branch_limit",
            field=models.PositiveIntegerField(blank=True, help_text="Of its siblings so many at a time.", null=True),
        ),
        migrations.AddField(
            model_name="task",
            name="cancel_grace",
            field=models.DurationField(
                blank=True,
                help_text="How long after a cancel its worker may go on with the step that it is in.",
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="task",
            name="cancel_reason",
            field=models.CharField(blank=True, db_default="", default="", max_length=300),
        ),
        migrations.AddField(
            model_name="task",
            name="code_began",
            field=models.CharField(
                blank=True, db_default="", default="", help_text="The code that it started on.", max_length=32
            ),
        ),
        migrations.AddField(
            model_name="task",
            name="code_ended",
            field=models.CharField(
                blank=True, db_default="", default="", help_text="The code that it ended on.", max_length=32
            ),
        ),
        migrations.AddField(
            model_name="task",
            name="cron_at",
            field=models.DateTimeField(blank=True, help_text="The tick of the clock that it is for.", null=True),
        ),
        migrations.AddField(
            model_name="task",
            name="finish_by",
            field=models.DateTimeField(blank=True, help_text="Cancelled if it has not ended by then.", null=True),
        ),
        migrations.AddField(
            model_name="task",
            name="parent",
            field=models.ForeignKey(
                blank=True,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="children",
                to="taskqueue.task",
            ),
        ),
        migrations.AddField(
            model_name="task",
            name="start_by",
            field=models.DateTimeField(blank=True, help_text="Cancelled if it has not started by then.", null=True),
        ),
        migrations.AddField(
            model_name="task",
            name="depth",
            field=models.PositiveSmallIntegerField(
                db_default=0, default=0, help_text="How many parents it has above it."
            ),
        ),
        migrations.AddField(
            model_name="task",
            name="drift",
            field=models.JSONField(blank=True, help_text="Where its record and the code disagreed.", null=True),
        ),
        migrations.AddField(
            model_name="task",
            name="echo",
            field=models.BooleanField(
                db_default=False, default=False, help_text="Whether somebody has to be told of its end."
            ),
        ),
        migrations.AddField(
            model_name="task",
            name="finish_within",
            field=models.DurationField(blank=True, help_text="Cancelled so long after its start.", null=True),
        ),
        migrations.AddField(
            model_name="task",
            name="group",
            field=models.CharField(
                blank=True,
                db_collation="C",
                db_default="",
                default="",
                help_text="The value of its limit's key.",
                max_length=200,
            ),
        ),
        migrations.AddField(
            model_name="task",
            name="shares_place",
            field=models.BooleanField(
                db_default=False,
                default=False,
                help_text="Whether it counts under its parent's place, as a child of the same limit.",
            ),
        ),
        migrations.AddField(
            model_name="task",
            name="merge_key",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="Requests with the same one join it until it is due.",
                max_length=201,
            ),
        ),
        migrations.AddField(
            model_name="task",
            name="parent_key",
            field=models.CharField(
                blank=True, db_default="", default="", help_text="The parent's step that it does.", max_length=200
            ),
        ),
        migrations.AddField(
            model_name="task",
            name="solo_key",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="Only one task with it is under way at a time.",
                max_length=201,
            ),
        ),
        migrations.AddField(
            model_name="task",
            name="waits_at",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="The rate or limit that a waiting task waits for, if any.",
                max_length=250,
            ),
        ),
        migrations.AddField(
            model_name="task",
            name="version",
            field=models.CharField(
                blank=True, db_default="", default="", help_text="Of the body that it runs.", max_length=50
            ),
        ),
        migrations.AddField(
            model_name="worker",
            name="pipelines",
            field=models.JSONField(
                blank=True, db_default=[], default=list, help_text="The pipelines that its code knows."
            ),
        ),
        migrations.AlterField(
            model_name="attempt",
            name="outcome",
            field=models.CharField(
                choices=[("failed", "failed"), ("timed_out", "timed_out"), ("lost", "lost"), ("stopped", "stopped")],
                max_length=16,
            ),
        ),
        migrations.AlterField(
            model_name="step",
            name="status",
            field=models.CharField(
                choices=[
                    ("waiting", "waiting"),
                    ("succeeded", "succeeded"),
                    ("retrying", "retrying"),
                    ("failed", "failed"),
                ],
                max_length=16,
            ),
        ),
        migrations.AlterField(
            model_name="task",
            name="due_at",
            field=models.DateTimeField(
                blank=True,
                help_text="When it may start or go on; null while it waits for something without a time.",
                null=True,
            ),
        ),
        migrations.AlterField(
            model_name="task",
            name="sort_at",
            field=models.DateTimeField(
                blank=True, help_text="Its place in the queue: due_at less priority seconds.", null=True
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
            model_name="gate",
            name="rate",
            field=models.ForeignKey(
                blank=True,
                editable=False,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="gates",
                to="taskqueue.rate",
            ),
        ),
        migrations.AddField(
            model_name="rateuse",
            name="rate",
            field=models.ForeignKey(
                db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name="uses", to="taskqueue.rate"
            ),
        ),
        migrations.AddField(
            model_name="skip",
            name="event",
            field=models.ForeignKey(
                blank=True,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="skips",
                to="taskqueue.event",
            ),
        ),
        migrations.AddField(
            model_name="skip",
            name="pipeline",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="skips",
                to="taskqueue.pipeline",
            ),
        ),
        migrations.AddField(
            model_name="skip",
            name="task",
            field=models.ForeignKey(
                blank=True,
                db_index=False,
                help_text="The task that stood in for the one that was asked for.",
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="skips",
                to="taskqueue.task",
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
        # Tasks that were under way before there were places hold one each.
        migrations.RunSQL(
            "UPDATE taskqueue_task SET admitted_at = started_at WHERE started_at IS NOT NULL AND finished_at IS NULL",
            migrations.RunSQL.noop,
        ),
        migrations.AddField(
            model_name="task",
            name="deadline_at",
            field=models.GeneratedField(
                db_persist=True,
                expression=models.Case(
                    models.When(
                        finished_at__isnull=True,
                        started_at__isnull=True,
                        then=django.db.models.functions.comparison.Least(models.F("start_by"), models.F("finish_by")),
                    ),
                    models.When(finished_at__isnull=True, then=models.F("finish_by")),
                ),
                output_field=models.DateTimeField(null=True),
            ),
        ),
        migrations.AddField(
            model_name="task",
            name="echo_at",
            field=models.GeneratedField(
                db_persist=True,
                expression=models.Case(models.When(echo=True, finished_at__isnull=False, then=models.F("finished_at"))),
                help_text="Since when its end has to be told; null before and after.",
                output_field=models.DateTimeField(null=True),
            ),
        ),
        migrations.AddField(
            model_name="task",
            name="group_lane",
            field=models.GeneratedField(
                db_persist=True,
                expression=models.Case(
                    models.When(
                        models.Q(("group", ""), _negated=True),
                        admitted_at__isnull=True,
                        status=taskqueue.states.TaskStatus["QUEUED"],
                        then=models.F("pipeline"),
                    )
                ),
                help_text="The pipeline in whose queue of its group it stands, before its first start.",
                output_field=models.CharField(db_collation="C", max_length=200, null=True),
            ),
        ),
        migrations.AddField(
            model_name="task",
            name="held",
            field=models.GeneratedField(
                db_persist=True,
                expression=models.Case(
                    models.When(
                        admitted_at__isnull=False,
                        finished_at__isnull=True,
                        shares_place=False,
                        then=models.F("pipeline"),
                    )
                ),
                help_text="The pipeline under whose limits it holds a place.",
                output_field=models.CharField(db_collation="C", max_length=200, null=True),
            ),
        ),
        migrations.AddField(
            model_name="task",
            name="merging",
            field=models.GeneratedField(
                db_persist=True,
                expression=models.Case(
                    models.When(
                        models.Q(("merge_key", ""), _negated=True),
                        status=taskqueue.states.TaskStatus["SCHEDULED"],
                        then=taskqueue.models.task.Concatenated(
                            models.F("pipeline"), models.Value(" "), models.F("merge_key")
                        ),
                    )
                ),
                output_field=models.CharField(db_collation="C", max_length=402, null=True),
            ),
        ),
        migrations.AddField(
            model_name="task",
            name="solo",
            field=models.GeneratedField(
                db_persist=True,
                expression=models.Case(
                    models.When(
                        models.Q(("solo_key", ""), _negated=True),
                        finished_at__isnull=True,
                        then=taskqueue.models.task.Concatenated(
                            models.F("pipeline"), models.Value(" "), models.F("solo_key")
                        ),
                    )
                ),
                output_field=models.CharField(db_collation="C", max_length=402, null=True),
            ),
        ),
        migrations.AddField(
            model_name="task",
            name="step_lane",
            field=models.GeneratedField(
                db_persist=True,
                expression=models.Case(
                    models.When(
                        models.Q(("waits_at", ""), _negated=True),
                        due_at__isnull=True,
                        status=taskqueue.states.TaskStatus["WAITING"],
                        then=models.F("pipeline"),
                    )
                ),
                help_text="The pipeline for whose step limit it waits.",
                output_field=models.CharField(db_collation="C", max_length=200, null=True),
            ),
        ),
        migrations.AddField(
            model_name="task",
            name="lane",
            field=models.GeneratedField(
                db_persist=True,
                expression=models.Case(
                    models.When(
                        admitted_at__isnull=False,
                        status=taskqueue.states.TaskStatus["QUEUED"],
                        then=models.F("pipeline"),
                    ),
                    models.When(
                        group="",
                        status=taskqueue.states.TaskStatus["QUEUED"],
                        then=taskqueue.models.task.Concatenated(models.F("pipeline"), models.Value("+")),
                    ),
                ),
                help_text="The queue that it stands in: its pipeline's name, with a plus before its first start.",
                output_field=models.CharField(db_collation="C", max_length=201, null=True),
            ),
        ),
        migrations.AddIndex(
            model_name="step",
            index=models.Index(
                condition=models.Q(("child__isnull", False)), fields=["child"], name="taskqueue_step_by_child"
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
        migrations.AddConstraint(
            model_name="step",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "kind__in",
                        [
                            taskqueue.states.StepKind["STEP"],
                            taskqueue.states.StepKind["BRANCH"],
                            taskqueue.states.StepKind["CHILD"],
                            taskqueue.states.StepKind["SLEEP"],
                            taskqueue.states.StepKind["WAIT"],
                            taskqueue.states.StepKind["EMIT"],
                        ],
                    )
                ),
                name="taskqueue_step_kind_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="step",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "status__in",
                        [
                            taskqueue.states.StepStatus["WAITING"],
                            taskqueue.states.StepStatus["SUCCEEDED"],
                            taskqueue.states.StepStatus["RETRYING"],
                            taskqueue.states.StepStatus["FAILED"],
                        ],
                    )
                ),
                name="taskqueue_step_status_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="step",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("error__isnull", True), ("status", taskqueue.states.StepStatus["SUCCEEDED"])),
                    models.Q(
                        ("error__isnull", True),
                        ("output__isnull", True),
                        ("status", taskqueue.states.StepStatus["WAITING"]),
                    ),
                    models.Q(
                        models.Q(
                            (
                                "status__in",
                                [taskqueue.states.StepStatus["SUCCEEDED"], taskqueue.states.StepStatus["WAITING"]],
                            ),
                            _negated=True,
                        ),
                        ("error__isnull", False),
                        ("output__isnull", True),
                    ),
                    _connector="OR",
                ),
                name="taskqueue_step_error_unless_succeeded",
            ),
        ),
        migrations.AddIndex(
            model_name="task",
            index=models.Index(
                models.F("group_lane"),
                models.F("group"),
                models.F("sort_at"),
                models.F("id"),
                condition=models.Q(("group_lane__isnull", False)),
                name="taskqueue_task_groups",
            ),
        ),
        migrations.AddIndex(
            model_name="task",
            index=models.Index(
                models.F("held"),
                models.F("group"),
                condition=models.Q(("held__isnull", False)),
                name="taskqueue_task_places",
            ),
        ),
        migrations.AddIndex(
            model_name="task",
            index=models.Index(
                models.F("step_lane"),
                models.F("id"),
                condition=models.Q(("step_lane__isnull", False)),
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
                models.F("echo_at"), condition=models.Q(("echo_at__isnull", False)), name="taskqueue_task_echo"
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
        migrations.AddConstraint(
            model_name="task",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        (
                            "status__in",
                            [
                                taskqueue.states.TaskStatus["QUEUED"],
                                taskqueue.states.TaskStatus["SCHEDULED"],
                                taskqueue.states.TaskStatus["RETRYING"],
                            ],
                        ),
                        _negated=True,
                    ),
                    models.Q(("due_at__isnull", False), ("sort_at__isnull", False)),
                    _connector="OR",
                ),
                name="taskqueue_task_ready_has_place",
            ),
        ),
        migrations.AddConstraint(
            model_name="task",
            constraint=models.UniqueConstraint(
                condition=models.Q(("solo__isnull", False)), fields=("solo",), name="taskqueue_task_solo_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="task",
            constraint=models.UniqueConstraint(
                condition=models.Q(("merging__isnull", False)), fields=("merging",), name="taskqueue_task_merging_once"
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
        migrations.AddConstraint(
            model_name="rate",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("count__isnull", True), ("count__gte", 1), _connector="OR"),
                    models.Q(("burst__isnull", True), ("burst__gte", 1), _connector="OR"),
                    models.Q(("per__isnull", True), ("per__gt", datetime.timedelta(0)), _connector="OR"),
                ),
                name="taskqueue_rate_lets_one_pass",
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
        migrations.AddConstraint(
            model_name="gate",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("tasks", 0), _negated=True),
                    models.Q(("tasks_per_key", 0), _negated=True),
                    models.Q(("steps", 0), _negated=True),
                    models.Q(("steps_per_key", 0), _negated=True),
                ),
                name="taskqueue_gate_lets_one_pass",
            ),
        ),
        migrations.AddConstraint(
            model_name="rateuse",
            constraint=models.UniqueConstraint(fields=("rate", "key"), name="taskqueue_rateuse_once"),
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
                        ],
                    )
                ),
                name="taskqueue_skip_kind_known",
            ),
        ),
        migrations.AddIndex(
            model_name="stepslot",
            index=models.Index(fields=["pipeline", "group"], name="taskqueue_stepslot_counted"),
        ),
        migrations.AddConstraint(
            model_name="stepslot",
            constraint=models.UniqueConstraint(fields=("task", "step_key"), name="taskqueue_stepslot_once"),
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
                        ],
                    ),
                    _connector="OR",
                ),
                name="taskqueue_wait_outcome_known",
            ),
        ),
        migrations.AddIndex(
            model_name="task",
            index=models.Index(
                "lane", "sort_at", "id", name="taskqueue_task_claim", condition=models.Q(lane__isnull=False)
            ),
        ),
    ]
