"""Retrying from a step: what the page says that it does is what it does."""

from __future__ import annotations

import pytest

from taskqueue.models import Step, Task
from taskqueue.testing import advance, work
from tests.support.admin_pages import button_of, messages_of, page_of, text_of
from tests.support.pipelines import shop

KEYS = ["validate", "cool-off", "embed", "embed#2", "admin/child", "charge-card"]
SAYS = {
    "validate": "Keeps no output, runs validate and the 5 after it again.",
    "cool-off": "Keeps the 1 earlier step output, runs cool-off and the 4 after it again.",
    "embed": "Keeps the 2 earlier step outputs, runs embed and the 3 after it again.",
    "embed#2": "Keeps the 3 earlier step outputs, runs embed#2 and the 2 after it again.",
    "admin/child": "Keeps the 4 earlier step outputs, runs admin/child and the 1 after it again.",
    "charge-card": "Keeps the 5 earlier step outputs, runs charge-card again.",
}


def to_the_end() -> None:
    for _ in range(4):
        work()
        advance(seconds=2)


@pytest.fixture
def declined() -> Task:
    """A task whose fifth kind of step has failed for good."""
    task = shop.order.enqueue(-1)
    to_the_end()
    shop.calls.clear()
    return Task.objects.get(pk=task.pk)


@pytest.mark.parametrize("key", KEYS)
def test_from_each_step_it_keeps_what_came_before_and_runs_the_rest_again(operator, declined, key):
    assert declined.status == "failed"
    text = text_of(operator.get(page_of(declined)))
    assert f"Retry from “{key}” {SAYS[key]}" in text
    before = dict(Step.objects.filter(task=declined).values_list("key", "pk"))

    response = operator.post(button_of(declined, "retry"), {"from_step": key, "confirmed": "1"}, follow=True)
    assert messages_of(response) == [f"The task is queued again, from step {key}."]
    to_the_end()

    after = dict(Step.objects.filter(task=declined).values_list("key", "pk"))
    kept = [each for each in KEYS if after[each] == before[each]]
    assert kept == KEYS[: KEYS.index(key)]
    assert Task.objects.get(pk=declined.pk).status == "failed"
    expected = {"validate": 1, "embed": 2 if key in KEYS[:3] else 1 if key == "embed#2" else 0, "charge-card": 1}
    expected["embed"] += key in KEYS[:5]  # the child's own
    expected["validate"] = int(key == "validate")
    assert {name: shop.calls.count(name) for name in expected} == expected


def test_the_old_child_stays_with_its_parent_beside_the_new_one(operator, declined):
    operator.post(button_of(declined, "retry"), {"from_step": "admin/child", "confirmed": "1"})
    to_the_end()

    old, new = Task.objects.filter(parent=declined, parallel_step="").order_by("pk")
    body = operator.get(page_of(declined)).content.decode()
    assert page_of(old) in body
    assert page_of(new) in body
    assert Step.objects.get(task=declined, key="admin/child").child == new


def test_an_earlier_step_that_failed_and_was_caught_runs_again_too_and_it_says_so(operator):
    task = shop.forgiving.enqueue(-1)
    work()
    assert Task.objects.get(pk=task.pk).status == "succeeded"
    shop.calls.clear()

    assert (
        "Keeps the 1 earlier step output, runs send-receipt again. 1 before it that did not succeed too."
    ) in text_of(operator.get(page_of(task)))
    operator.post(button_of(task, "retry"), {"from_step": "send-receipt", "confirmed": "1"})
    work()

    assert shop.calls == ["charge-card", "send-receipt"]


def test_while_it_has_not_ended_the_button_stays_and_says_why_and_the_engine_refuses(operator):
    task = shop.order.enqueue(1)
    work()  # as far as the sleep

    body = operator.get(page_of(task)).content.decode()
    assert 'title="The task is waiting: it has not ended." disabled' in body

    response = operator.post(button_of(task, "retry"), {"from_step": "validate", "confirmed": "1"}, follow=True)
    assert messages_of(response) == ["Cannot retry: the task is now waiting."]
    assert Step.objects.filter(task=task, key="validate").exists()


def test_who_may_not_retry_sees_no_such_button(viewer, declined):
    assert "Retry from" not in text_of(viewer.get(page_of(declined)))


def test_of_two_who_retry_the_second_learns_that_it_has_moved_on(operator, declined):
    operator.post(button_of(declined, "retry"), {"from_step": "charge-card", "confirmed": "1"})

    response = operator.post(button_of(declined, "retry"), {"from_step": "validate", "confirmed": "1"}, follow=True)

    assert messages_of(response)[-1] == "Cannot retry: the task is now queued."
    assert Step.objects.filter(task=declined).count() == 5
