"""The menu lists taskqueue's models by their usual names, and none of django-q2."""

from __future__ import annotations

import pytest
from django.contrib.admin import AdminSite, site

from taskqueue.pool import queue_lists
from tests.support.admin_pages import text_of


def test_django_q2_has_no_lists_in_the_menu(admin):
    page = admin.get("/admin/taskqueue/task/")

    assert "Django Q" not in text_of(page)
    assert admin.get("/admin/django_q/success/").status_code == 404
    assert not {model for model in site._registry if model._meta.app_label == "django_q"}


def test_a_setting_keeps_the_lists_of_django_q2(settings, monkeypatch):
    from django_q import admin as lists
    from django_q.models import Success

    settings.TASKQUEUE = {"DJANGO_Q_ADMIN": True}
    site = AdminSite()
    site.register(Success, lists.TaskAdmin)
    monkeypatch.setattr(queue_lists, "site", site)
    queue_lists.hide_queue_lists()
    assert site.is_registered(Success)

    settings.TASKQUEUE = {}
    queue_lists.hide_queue_lists()
    assert not site.is_registered(Success)


@pytest.mark.parametrize("name", ["Concurrency limits", "Skipped requests", "Rate limit usage", "Pipeline permissions"])
def test_lists_have_the_usual_names(admin, name):
    assert name in text_of(admin.get("/admin/taskqueue/"))
