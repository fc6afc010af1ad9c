"""Retry from a step: the consequence on the page is what happens."""

from __future__ import annotations

import pytest

from taskqueue.models import Step, Task
from taskqueue.testing import advance, work
from tests.support.admin_pages import button_of, messages_of, page_of, text_of
from tests.support.pipelines import shop

KEYS = ["validate", "cool-off", "embed", "embed#2", "admin/child", "charge-card"]
CONSEQUENCES = {
    "validate": "Runs validate and the next 5 steps again; keeps no earlier result.",
    "cool-off": "Runs cool-off and the next 4 steps again; keeps 1 earlier result.",
    "embed": "Runs embed and the next 3 steps again; keeps 2 earlier results.",
    "embed#2": "Runs embed#2 and the next 2 steps again; keeps 3 earlier results.",
    "admin/child": "Runs admin/child and the next step again; keeps 4 earlier results.",
    "charge-card": "Runs charge-card again; keeps 5 earlier results.",
}


def run_to_end() -> None:
    for _ in range(4):
        work()
        advance(seconds=2)


@pytest.fixture
def declined() -> Task:
    """A task whose charge-card step has failed."""
    task = shop.order.enqueue(-1)
    run_to_end()
    shop.calls.clear()
    return Task.objects.get(pk=task.pk)


@pytest.mark.parametrize("key", KEYS)
def test_retry_from_a_step_keeps_earlier_steps_and_runs_the_rest(operator, declined, key):
    assert declined.status == "failed"
    text = text_of(operator.get(page_of(declined)))
    assert f"Retry from “{key}” {CONSEQUENCES[key]}" in text
    before = dict(Step.objects.filter(task=declined).values_list("key", "pk"))

    response = operator.post(button_of(declined, "retry"), {"from_step": key, "confirmed": "1"}, follow=True)
    assert messages_of(response) == [f"The task is queued again, from step {key}."]
    run_to_end()

    after = dict(Step.objects.filter(task=declined).values_list("key", "pk"))
    kept = [each for each in KEYS if after[each] == before[each]]
    assert kept == KEYS[: KEYS.index(key)]
    assert Task.objects.get(pk=declined.pk).status == "failed"
    expected = {"validate": 1, "embed": 2 if key in KEYS[:3] else 1 if key == "embed#2" else 0, "charge-card": 1}
    expected["embed"] += key in KEYS[:5]  # the child's own
    expected["validate"] = int(key == "validate")
    assert {name: shop.calls.count(name) for name in expected} == expected


def test_retry_from_a_child_step_keeps_the_old_child(operator, declined):
    operator.post(button_of(declined, "retry"), {"from_step": "admin/child", "confirmed": "1"})
    run_to_end()

    old, new = Task.objects.filter(parent=declined, parallel_step="").order_by("pk")
    body = operator.get(page_of(declined)).content.decode()
    assert page_of(old) in body
    assert page_of(new) in body
    assert Step.objects.get(task=declined, key="admin/child").child == new


def test_retry_also_runs_an_earlier_step_whose_failure_was_caught(operator):
    task = shop.forgiving.enqueue(-1)
    work()
    assert Task.objects.get(pk=task.pk).status == "succeeded"
    shop.calls.clear()

    assert ("Runs send-receipt and 1 unfinished step before it again; keeps 1 earlier result.") in text_of(
        operator.get(page_of(task))
    )
    operator.post(button_of(task, "retry"), {"from_step": "send-receipt", "confirmed": "1"})
    work()

    assert shop.calls == ["charge-card", "send-receipt"]


def test_retry_from_a_step_is_refused_until_the_task_ends(operator):
    task = shop.order.enqueue(1)
    work()  # as far as the sleep

    body = operator.get(page_of(task)).content.decode()
    assert 'title="The task is waiting: it has not ended." disabled' in body

    response = operator.post(button_of(task, "retry"), {"from_step": "validate", "confirmed": "1"}, follow=True)
    assert messages_of(response) == ["Cannot retry: the task is now waiting."]
    assert Step.objects.filter(task=task, key="validate").exists()


def test_a_user_without_permission_sees_no_retry_button(viewer, declined):
    assert "Retry from" not in text_of(viewer.get(page_of(declined)))


def test_a_second_retry_is_refused_with_the_present_status(operator, declined):
    operator.post(button_of(declined, "retry"), {"from_step": "charge-card", "confirmed": "1"})

    response = operator.post(button_of(declined, "retry"), {"from_step": "validate", "confirmed": "1"}, follow=True)

    assert messages_of(response)[-1] == "Cannot retry: the task is now queued."
    assert Step.objects.filter(task=declined).count() == 5
