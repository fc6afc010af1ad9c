"""Why a worker cannot claim, and ended operations by their end, for pruning."""

from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies = [("taskqueue", "0010_mirrored")]

    operations = [
        migrations.AddField(
            model_name="worker",
            name="cannot_claim",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="Why its last claims have failed.",
                max_length=300,
            ),
        ),
        migrations.AddIndex(
            model_name="operation",
            index=models.Index(
                condition=Q(finished_at__isnull=False), fields=["finished_at"], name="taskqueue_operation_ended"
            ),
        ),
    ]
