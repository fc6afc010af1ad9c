"""The section with an object's tasks on the object's page in the admin."""

from __future__ import annotations

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, Permission, User
from django.db import connection
from django.urls import path

from demo.pipelines import DemoRequest, demo_task
from taskqueue.admin import TasksOfObject
from taskqueue.engine.enqueue.options import Options
from taskqueue.engine.tasks import control
from taskqueue.errors import InvalidOptions
from taskqueue.models import Task
from tests.support.admin_pages import page_of, text_of
from tests.support.users import client_of

site = admin.AdminSite("objects")


@admin.register(Group, site=site)
class GroupAdmin(TasksOfObject[Group], admin.ModelAdmin):  # type: ignore[type-arg]  # as projects write it
    exclude = ("permissions",)


@admin.register(User, site=site)
class UserAdmin(TasksOfObject[User], admin.ModelAdmin):  # type: ignore[type-arg]  # as projects write it
    fieldsets = [("Who", {"fields": ["username"]})]


urlpatterns = [path("objects/", site.urls), path("admin/", admin.site.urls)]


@pytest.fixture(autouse=True)
def _urls(settings):
    settings.ROOT_URLCONF = __name__


@pytest.fixture
def group() -> Group:
    return Group.objects.create(name="buyers")


def enqueue_about(thing, label: str = "x") -> Task:
    return demo_task.using(subject=thing).enqueue(DemoRequest(label=label, delay_seconds=0))


def test_an_objects_page_shows_its_own_tasks_newest_first(admin, group):
    first, second, _other = (
        enqueue_about(group),
        enqueue_about(group),
        enqueue_about(Group.objects.create(name="sellers")),
    )

    response = admin.get(f"/objects/auth/group/{group.pk}/change/")

    body = response.content.decode()
    assert body.index(page_of(second)) < body.index(page_of(first))
    assert body.count("demo/task") == 2
    assert "Queued" in text_of(response)
    assert "taskqueue/admin.css" in body


def test_the_section_is_below_the_declared_fieldsets(admin, group):
    user = User.objects.get(username="ada")
    enqueue_about(user)

    text = text_of(admin.get(f"/objects/auth/user/{user.pk}/change/"))

    assert text.index("Who") < text.index("demo/task")
    assert text.count("demo/task") == 1


def test_an_object_without_tasks_says_so_and_an_add_form_has_no_section(admin, group):
    assert "No tasks for this object." in text_of(admin.get(f"/objects/auth/group/{group.pk}/change/"))
    assert "No tasks" not in text_of(admin.get("/objects/auth/group/add/"))


def test_users_without_view_task_do_not_see_the_section(group):
    enqueue_about(group)
    clerk = client_of("clara")
    User.objects.get(username="clara").user_permissions.add(*Permission.objects.filter(content_type__app_label="auth"))

    response = clerk.get(f"/objects/auth/group/{group.pk}/change/")

    assert response.status_code == 200
    assert "demo/task" not in text_of(response)


def test_the_number_of_queries_does_not_depend_on_the_tasks(admin, group, django_assert_num_queries):
    for number in range(25):
        enqueue_about(group, str(number))
    admin.get(f"/objects/auth/group/{group.pk}/change/")  # which looks for the content type, once per process

    with django_assert_num_queries(4):  # session, user, group, tasks
        response = admin.get(f"/objects/auth/group/{group.pk}/change/")

    assert "The newest 20 are shown." in text_of(response)


def test_tasks_of_an_object_are_found_by_an_index(group):
    tasks = Task.objects.filter(subject=f"auth.group:{group.pk}").order_by("-pk")[:21]
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        plan = tasks.explain()

    assert "taskqueue_task_by_subject" in plan
    assert "Sort" not in plan


def test_a_rerun_keeps_the_subject(group):
    task = enqueue_about(group)

    assert control.rerun(task.pk).subject == f"auth.group:{group.pk}"


def test_an_unsaved_object_cannot_be_a_subject():
    with pytest.raises(InvalidOptions, match="Save the group"):
        demo_task.using(subject=Group(name="unsaved"))
    for subject in ("x" * 201, "a\0b"):
        with pytest.raises(InvalidOptions):
            Options(subject=subject)
