"""Workers that end what they have in hand and take nothing new."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("taskqueue", "0006_operations"),
    ]

    operations = [
        migrations.AddField(
            model_name="worker",
            name="draining_at",
            field=models.DateTimeField(
                blank=True,
                help_text="Since when it ends what it has in hand and takes nothing new.",
                null=True,
            ),
        ),
    ]
