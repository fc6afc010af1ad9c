"""The sum of a task's outputs, which others add to while it waits."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("taskqueue", "0012_failed_by_end")]

    operations = [
        migrations.AddField(
            model_name="task",
            name="output_bytes",
            field=models.BigIntegerField(
                db_default=0, default=0, help_text="The sum of its steps' outputs, kept while it waits for other tasks."
            ),
        ),
    ]
