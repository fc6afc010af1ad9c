"""The start of a project: tasks are found, and a missing framework or backend is no obstacle."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.support.django_tasks.framework import IS_CORE
from tests.support.processes.processes import ROOT

PRINT_PIPELINES = """
import sys
{first}
import django
django.setup()
from taskqueue.definitions import registry
print(*registry.names())
"""


def pipelines_of_project(*, apps: str = "", first: str = "") -> list[str]:
    """The pipelines that the tests' worker project has after its start with these apps too."""
    env = {"DJANGO_SETTINGS_MODULE": "tests.support.processes.settings", "WORKER_TEST_DATABASE": "none"}
    done = subprocess.run(
        [sys.executable, "-c", PRINT_PIPELINES.format(first=first)],
        cwd=ROOT,
        env={**os.environ, "DEBUG": "true", **env, "WORKER_TEST_APPS": apps},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_tasks_of_apps_are_found_at_start():
    names = pipelines_of_project(apps="tests.support.django_tasks")

    assert {"django-tasks/by-path", "tests.support.django_tasks.tasks.bare"} <= set(names)
    assert not any("elsewhere" in name for name in names)


def test_a_project_without_the_backend_has_no_pipelines_for_tasks():
    assert not any("django" in name for name in pipelines_of_project())


@pytest.mark.skipif(IS_CORE, reason="this Django has the framework")
def test_a_project_without_the_backport_starts():
    names = pipelines_of_project(first="sys.modules['django_tasks'] = None")

    assert "tests/walk" in names
