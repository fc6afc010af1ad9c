"""What the code last said of a pipeline, as one digest: what stands is not written again at every start."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("taskqueue", "0009_retention")]

    operations = [
        migrations.AddField(
            model_name="pipeline",
            name="mirrored",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="A digest of all that the code last said of it.",
                max_length=64,
            ),
        ),
    ]
