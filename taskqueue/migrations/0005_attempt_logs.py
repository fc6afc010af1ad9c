"""What steps log is kept with their tries, and tasks say which object they are about."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("taskqueue", "0004_rollups"),
    ]

    operations = [
        migrations.AddField(
            model_name="attempt",
            name="logs",
            field=models.JSONField(blank=True, help_text="What it logged.", null=True),
        ),
        migrations.AddField(
            model_name="step",
            name="logs",
            field=models.JSONField(blank=True, help_text="What the try that succeeded logged.", null=True),
        ),
        migrations.AddField(
            model_name="task",
            name="subject",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="The object that it is about: its model and its key.",
                max_length=200,
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
    ]
