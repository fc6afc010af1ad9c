"""`manage.py check` finds errors that are visible only when all modules are imported."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.management import call_command
from django.core.management.base import SystemCheckError

from taskqueue import Rate, pipeline, step
from tests.support.pipelines import shop_steps as shop


@step(name="ship")
def another_ship() -> int:
    return 2


@step
async def notify() -> None: ...


def test_a_sound_pipeline_passes():
    @pipeline("checks/sound")
    def body() -> int:
        return shop.ship() + shop.ship()

    call_command("check")


def test_two_different_steps_of_one_name_in_a_pipeline_are_an_error():
    @pipeline("checks/names")
    def body() -> int:
        return shop.ship() + another_ship()

    with pytest.raises(SystemCheckError, match=r"(?s)taskqueue.E003.*two different steps called 'ship'.*HINT: .*name="):
        call_command("check")


def test_an_async_step_in_a_plain_pipeline_is_an_error():
    @pipeline("checks/async")
    def body() -> object:
        return notify()

    with pytest.raises(SystemCheckError, match=r"(?s)taskqueue.E004.*async step 'notify'.*HINT: Make the pipeline"):
        call_command("check")


def test_a_setting_that_does_not_exist_is_an_error(settings):
    settings.TASKQUEUE = {"PAYLOAD_MAX": 1}

    with pytest.raises(SystemCheckError, match=r"(?s)taskqueue.E002.*no setting 'PAYLOAD_MAX'.*docs/settings.md"):
        call_command("check")


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"QUEUES": "mail,", "NOT_QUEUES": ""}, "A queue cannot be called ''"),
        ({"NOT_QUEUES": "Mail"}, "A queue cannot be called 'Mail'"),
        ({"QUEUES": "mail", "NOT_QUEUES": "gpu"}, "not both"),
        ({"RESERVE": "urgent"}, "'urgent' is not QUEUE=N, such as urgent=1."),
        ({"RESERVE": "urgent=0"}, "The number of slots for queue urgent must be at least 1, not '0'."),
        ({"ADMIN_URL": "tasks.example.com"}, "must begin with https:// or http://."),
    ],
)
def test_settings_that_are_not_valid_are_an_error(settings, values, says):
    settings.TASKQUEUE = values

    with pytest.raises(SystemCheckError, match=f"(?s)taskqueue.E002.*{says}"):
        call_command("check")


def test_a_rate_with_two_sets_of_numbers_is_an_error():
    @step(rate=Rate(10, per=timedelta(seconds=1), name="checks-api"))
    def one() -> None: ...

    @step(rate="checks-api")
    def two() -> None: ...

    @pipeline("checks/rates", throttle=Rate(5, per=timedelta(seconds=1), name="checks-api"))
    def body() -> None: ...

    expected = r"(?s)taskqueue.E005.*'checks-api'.*5 in 1 s with a burst of 1 and 10 in 1 s.*HINT: Declare it once"
    with pytest.raises(SystemCheckError, match=expected):
        call_command("check")


def test_a_rate_declared_twice_with_the_same_numbers_or_by_a_throttle_is_fine():
    @step(rate=Rate(10, per=timedelta(seconds=1), name="checks-api"))
    def one() -> None: ...

    @step(rate="checks/rates")
    def two() -> None: ...

    @pipeline("checks/other", throttle=Rate(10, per=timedelta(seconds=1), name="checks-api"))
    def other() -> None: ...

    @pipeline("checks/rates", throttle=Rate(10, per=timedelta(seconds=1)))
    def body() -> None: ...

    call_command("check")


def test_an_undeclared_rate_is_an_error():
    @step(rate="checks-unknown")
    def lost() -> None: ...

    with pytest.raises(SystemCheckError, match=r"(?s)taskqueue.E006.*'checks-unknown'.*HINT: .*name='checks-unknown'"):
        call_command("check")
