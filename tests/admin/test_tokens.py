"""Tokens and pipeline permissions: the secret is shown once; only superusers create tokens for other users."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.test import Client

from taskqueue.engine.actions import tokens
from taskqueue.models import PipelinePermission, Token
from tests.support.admin_pages import messages_of, text_of
from tests.support.users import client_of

LIST, ADD = "/admin/taskqueue/token/", "/admin/taskqueue/token/add/"
PERMISSIONS = "/admin/taskqueue/pipelinepermission/"


@pytest.fixture
def creator() -> Client:
    return client_of("mia", "view_token", "add_token", "change_token")


def create(client: Client, **changed: object) -> Any:
    return client.post(ADD, {"name": "nightly", "username": "mia", "days": "90", "per_minute": "", **changed})


def secret_on(response: Any) -> str:
    found = re.search(r"tq_[\w-]{43}", response.content.decode())
    assert found is not None
    return found[0]


def test_the_secret_is_shown_only_once(creator, caplog):
    caplog.set_level("DEBUG")
    response = create(creator)

    secret = secret_on(response)
    token = Token.objects.get()
    pages = [
        creator.get(address).content.decode()
        for address in (LIST, f"{LIST}{token.pk}/change/", f"{LIST}{token.pk}/history/")
    ]
    assert tokens.find(secret) == token
    assert "no-store" in response["Cache-Control"]
    assert not any(secret in page for page in pages)
    assert token.digest not in "".join(pages)
    assert secret not in caplog.text
    assert secret not in str(LogEntry.objects.values())
    assert token.prefix in pages[0]


def test_a_token_is_created_with_expiry_and_log_entry(creator):
    create(creator, per_minute="60")

    token = Token.objects.get()
    assert token.expires_at is not None
    assert (token.expires_at - token.created_at).days in {89, 90}
    assert token.per_minute == 60
    assert [entry.get_change_message() for entry in LogEntry.objects.all()] == ["Created for mia."]


def test_a_token_may_never_expire(creator):
    create(creator, days="0")

    assert Token.objects.get().expires_at is None


def test_a_user_creates_tokens_only_for_themself(creator):
    User.objects.create_user("victor")

    create(creator, username="victor")

    assert Token.objects.get().user.get_username() == "mia"


def test_a_superuser_creates_tokens_for_other_users(admin):
    User.objects.create_user("robot")

    assert secret_on(create(admin, username="robot"))
    assert Token.objects.get().user.get_username() == "robot"


@pytest.mark.parametrize(
    "changed",
    [
        {"username": "missing"},
        {"name": ""},
        {"days": "7000"},
        {"per_minute": "0"},
        {"per_minute": "x"},
        {"username": "\0"},
    ],
)
def test_invalid_values_create_no_token(admin, changed):
    response = create(admin, **{"username": "ada", **changed})

    assert response.status_code == 200
    assert "errorlist" in response.content.decode()
    assert not Token.objects.exists()


def test_revoking_needs_its_permission_and_is_logged(creator):
    create(creator)
    token = Token.objects.get()
    form = {"action": "revoke_selected", "_selected_action": [str(token.pk)]}

    client_of("vera", "view_token").post(LIST, form)
    assert Token.objects.get().revoked_at is None

    response = creator.post(LIST, form, follow=True)

    assert messages_of(response) == ["1 token revoked."]
    assert Token.objects.get().revoked_at is not None
    assert "revoked just now" in text_of(response)
    assert LogEntry.objects.latest("pk").get_change_message() == "Revoked."


@pytest.mark.parametrize("address", [LIST, ADD])
def test_without_permission_the_pages_are_403(stranger, address):
    assert stranger.get(address).status_code == 403


def test_view_permission_does_not_create_tokens():
    viewer = client_of("vera", "view_token")

    assert viewer.get(LIST).status_code == 200
    assert create(viewer).status_code == 403


def test_the_list_of_tokens_costs_a_fixed_number_of_queries(creator, django_assert_max_num_queries):
    user = User.objects.get(username="mia")
    for number in range(20):
        tokens.issue(user, name=f"token {number}")

    with django_assert_max_num_queries(8):
        creator.get(LIST)


def test_a_pipeline_permission_is_added_with_a_log_entry(admin):
    robot = User.objects.create_user("robot")
    form = {"pipeline": "demo/task", "user": robot.pk, "group": "", "run": "on"}

    assert admin.post(f"{PERMISSIONS}add/", form).status_code == 302

    permission = PipelinePermission.objects.get()
    assert (permission.user, permission.run, permission.cancel) == (robot, True, False)
    assert LogEntry.objects.get().object_id == str(permission.pk)
    assert "robot" in text_of(admin.get(PERMISSIONS))


def test_a_pipeline_permission_needs_a_user_or_a_group(admin):
    response = admin.post(f"{PERMISSIONS}add/", {"pipeline": "demo/task", "user": "", "group": ""})

    assert "A permission belongs to a user or to a group" in text_of(response)
    assert not PipelinePermission.objects.exists()


def test_view_task_shows_no_tokens_and_no_pipeline_permissions(viewer):
    assert viewer.get(LIST).status_code == 403
    assert viewer.get(PERMISSIONS).status_code == 403
