"""Schedules in real worker commands: each scheduled time runs once."""

from datetime import UTC, datetime

import pytest

from taskqueue.models import Schedule, Task
from tests.support.waiting import eventually

pytestmark = pytest.mark.process

FIRST = datetime(2000, 2, 29, tzinfo=UTC)


def test_two_commands_run_each_missed_time_once(start):
    commands = [start(), start()]

    Schedule.objects.filter(pipeline="tests/leap-day").update(next_at=FIRST)

    done = Task.objects.filter(pipeline="tests/leap-day", status="succeeded")
    days = [FIRST.replace(year=year) for year in range(2000, datetime.now(UTC).year + 5, 4)]
    past = [day for day in days if day < datetime.now(UTC)]
    eventually(lambda: done.count() == len(past), details=commands[0].output)
    assert list(Task.objects.order_by("cron_at").values_list("cron_at", flat=True)) == past
    schedule = Schedule.objects.get(pipeline="tests/leap-day")
    assert (schedule.last_at, schedule.next_at) == (past[-1], days[len(past)])


def test_a_command_syncs_the_schedules_of_its_code(start):
    command = start()
    command.stop()
    Schedule.objects.all().delete()

    start()

    assert Schedule.objects.filter(pipeline="tests/leap-day").exists()
