"""Names on a task's page are links, if the user may view the target."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

import pytest
from django.contrib.auth.models import Group

from demo.pipelines import DemoRequest, demo_task
from taskqueue.models import Task
from taskqueue.testing import work
from tests.support.admin_pages import page_of, text_of
from tests.support.users import client_of


@pytest.fixture
def task() -> Task:
    """An ended task about a group, with a label that needs URL quoting."""
    group = Group.objects.create(name="buyers")
    task = demo_task.using(subject=group, labels={"tenant": "a&b=c"}).enqueue(DemoRequest(label="x", delay_seconds=0))
    work()
    return Task.objects.get(pk=task.pk)


def links_of(response) -> dict[str, str]:
    """The page's links by their text."""
    page = response.content.decode()
    return {
        text: href.replace("&amp;", "&") for href, text in re.findall(r'<a[^>]*href="([^"]*)"[^>]*>([^<]+)</a>', page)
    }


def test_pipeline_object_worker_and_label_are_working_links(admin, task):
    links = links_of(admin.get(page_of(task)))

    for name in ("demo/task", task.subject, str(task.worker)):
        assert admin.get(links[name]).status_code == 200, name
    label = links["tenant: a&amp;b=c"]
    assert parse_qs(urlsplit(label).query) == {"label": ["tenant=a&b=c"]}
    assert page_of(task) in admin.get(label).content.decode()


def test_targets_the_user_may_not_view_are_plain_names(task):
    response = client_of("tess", "view_task").get(page_of(task))

    assert {"demo/task", task.subject, str(task.worker)}.isdisjoint(links_of(response))
    assert task.subject in text_of(response)
    assert str(task.worker) in text_of(response)


@pytest.mark.parametrize("subject", ["gone.model:1", "nonsense", "auth.permission:1", ":", "auth.group:no such/key"])
def test_an_object_without_an_admin_page_is_a_plain_name(admin, task, subject):
    Task.objects.filter(pk=task.pk).update(subject=subject)

    response = admin.get(page_of(task))

    assert response.status_code == 200
    assert subject in text_of(response)
