"""A notes file for steps, and worker commands that end with their test."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.db import connection

from tests.support.processes import pipelines  # noqa: F401 - registers them in this process too
from tests.support.processes.worker_command import Notes, WorkerCommand


@pytest.fixture
def notes(tmp_path: Path) -> Notes:
    """The file to which steps write."""
    return Notes(tmp_path)


@pytest.fixture
def start(transactional_db: None, tmp_path: Path) -> Iterator[Callable[..., WorkerCommand]]:
    """Start a `manage.py worker`, and wait until its workers are there."""
    started: list[WorkerCommand] = []

    def start_one(**settings: object) -> WorkerCommand:
        command = WorkerCommand(tmp_path, **settings)  # type: ignore[arg-type]  # `processes` is one of them
        started.append(command)
        return command.ready()

    yield start_one
    for command in started:
        command.kill_all()


@pytest.fixture
def marks(transactional_db: None) -> Iterator[Callable[[], list[str]]]:
    """The table of the atomic steps' rows, and a function that reads it."""
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE tests_mark (name text)")

    def read() -> list[str]:
        with connection.cursor() as cursor:
            cursor.execute("SELECT name FROM tests_mark ORDER BY name")
            return [name for (name,) in cursor.fetchall()]

    yield read
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE tests_mark")
