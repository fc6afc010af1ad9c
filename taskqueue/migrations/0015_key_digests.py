"""What a key was used with."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("taskqueue", "0014_deferred_starts")]

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
    ]
