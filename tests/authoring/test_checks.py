"""`manage.py check` finds what can only be seen when all is imported."""

from __future__ import annotations

import pytest
from django.core.management import call_command
from django.core.management.base import SystemCheckError

from taskqueue import pipeline, step
from tests.authoring import shop


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
