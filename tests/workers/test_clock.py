"""The clock in real worker commands: each tick is taken once."""

from datetime import UTC, datetime

import pytest

from taskqueue.models import Schedule, Task
from tests.house.processes import eventually

pytestmark = pytest.mark.process

YEARS = datetime.now(UTC).year - 2000 + 1


def test_two_commands_with_four_workers_take_each_missed_tick_once(start):
    commands = [start(), start()]

    Schedule.objects.filter(pipeline="tests/new-year").update(next_at=datetime(2000, 1, 1, tzinfo=UTC))

    done = Task.objects.filter(pipeline="tests/new-year", status="succeeded")
    eventually(lambda: done.count() == YEARS, within=15, otherwise=commands[0].said)
    years = [tick.year for tick in Task.objects.order_by("cron_at").values_list("cron_at", flat=True) if tick]
    assert years == list(range(2000, 2000 + YEARS))
    schedule = Schedule.objects.get(pipeline="tests/new-year")
    assert (schedule.last_at, schedule.next_at) == (
        datetime(YEARS + 1999, 1, 1, tzinfo=UTC),
        datetime(YEARS + 2000, 1, 1, tzinfo=UTC),
    )


def test_a_command_mirrors_the_clocks_that_its_code_defines(start):
    command = start()
    command.stop()
    Schedule.objects.all().delete()

    start()

    assert Schedule.objects.filter(pipeline="tests/new-year").exists()
