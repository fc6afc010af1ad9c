"""Migrations, models and engine agree on the distribution's PostgreSQL and on the embedded one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from taskqueue.embedded.programs import Programs, find_programs
from tests.support.database.index_conditions import FILL, unconditional_scans
from tests.support.processes.postgres import own_server
from tests.support.processes.processes import ROOT

pytestmark = pytest.mark.process

EXECUTE = """
import os
import django
os.environ["DJANGO_SETTINGS_MODULE"] = "demo.settings"
django.setup()

from django.core.management import call_command
call_command("migrate", verbosity=0)
call_command("makemigrations", check_changes=True, dry_run=True)

from demo.pipelines import DemoRequest, demo_task
from taskqueue.models import Task
from taskqueue.testing import work
task = demo_task.enqueue(DemoRequest(label="x", delay_seconds=0))
work()
print("status:", Task.objects.get(pk=task.pk).status)
"""


def distribution_programs() -> Programs:
    """The oldest PostgreSQL that the distribution has installed."""
    installed = [Programs(path.parents[1]) for path in Path("/usr/lib/postgresql").glob("*/bin/postgres")]
    if not installed:
        pytest.fail("There is no PostgreSQL below /usr/lib/postgresql. Install it: apt-get install postgresql")
    return min(installed, key=lambda programs: programs.major_version)


@pytest.mark.parametrize(
    "find",
    [
        pytest.param(find_programs, id="embedded", marks=pytest.mark.slow),  # all other tests run on it
        pytest.param(distribution_programs, id="distribution"),
    ],
)
def test_a_new_database_executes_a_task_and_plans_without_statistics(find):
    with own_server(programs=find(), settings=["autovacuum=off", "fsync=off"]) as server:
        environment = {**os.environ, "DATABASE_URL": server.url, "DEBUG": "true"}
        done = subprocess.run(
            [sys.executable, "-c", EXECUTE], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )

        assert done.returncode == 0, done.stderr
        assert "No changes detected" in done.stdout
        assert "status: succeeded" in done.stdout

        with psycopg.connect(server.url, autocommit=True, prepare_threshold=None) as session:
            session.execute(FILL)
            assert unconditional_scans(session) == {}
