"""Storage of the tables that change all the time: room for updates in the page, and vacuum by count instead of by share."""

from django.db import migrations

TASKS_AND_WORKERS_CHANGE_IN_PLACE = """
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

BACK_TO_DEFAULTS = """
ALTER TABLE taskqueue_task RESET (
    fillfactor, autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold,
    autovacuum_analyze_scale_factor, autovacuum_analyze_threshold, autovacuum_vacuum_cost_delay
);
ALTER TABLE taskqueue_worker RESET (fillfactor, autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold);
"""


class Migration(migrations.Migration):
    dependencies = [("taskqueue", "0001_initial")]

    operations = [migrations.RunSQL(TASKS_AND_WORKERS_CHANGE_IN_PLACE, BACK_TO_DEFAULTS)]
