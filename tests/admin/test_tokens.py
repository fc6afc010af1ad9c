"""Tokens in the admin: the secret is shown once, and who may make one for whom."""

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
RIGHTS = "/admin/taskqueue/pipelinepermission/"


@pytest.fixture
def maker() -> Client:
    return client_of("mia", "view_token", "add_token", "change_token")


def make(client: Client, **changed: object) -> Any:
    return client.post(ADD, {"name": "nightly", "username": "mia", "days": "90", "per_minute": "", **changed})


def secret_on(response: Any) -> str:
    found = re.search(r"tq_[\w-]{43}", response.content.decode())
    assert found is not None
    return found[0]


def test_the_secret_is_shown_once_and_never_again(maker, caplog):
    caplog.set_level("DEBUG")
    response = make(maker)

    secret = secret_on(response)
    token = Token.objects.get()
    pages = [
        maker.get(place).content.decode() for place in (LIST, f"{LIST}{token.pk}/change/", f"{LIST}{token.pk}/history/")
    ]
    assert tokens.find(secret) == token
    assert "no-store" in response["Cache-Control"]
    assert not any(secret in page for page in pages)
    assert token.digest not in "".join(pages)
    assert secret not in caplog.text
    assert secret not in str(LogEntry.objects.values())
    assert token.prefix in pages[0]


def test_a_token_is_made_on_the_record_with_its_end(maker):
    make(maker, per_minute="60")

    token = Token.objects.get()
    assert token.expires_at is not None
    assert (token.expires_at - token.created_at).days in {89, 90}
    assert token.per_minute == 60
    assert [entry.get_change_message() for entry in LogEntry.objects.all()] == ["Made for mia."]


def test_a_token_may_be_valid_for_ever(maker):
    make(maker, days="0")

    assert Token.objects.get().expires_at is None


def test_who_is_no_superuser_makes_tokens_for_themselves_alone(maker):
    User.objects.create_user("victor")

    make(maker, username="victor")

    assert Token.objects.get().user.get_username() == "mia"


def test_a_superuser_makes_tokens_for_others(admin):
    User.objects.create_user("robot")

    assert secret_on(make(admin, username="robot"))
    assert Token.objects.get().user.get_username() == "robot"


@pytest.mark.parametrize(
    "changed",
    [
        {"username": "nobody"},
        {"name": ""},
        {"days": "7000"},
        {"per_minute": "0"},
        {"per_minute": "x"},
        {"username": "\0"},
    ],
)
def test_what_does_not_fit_makes_no_token(admin, changed):
    response = make(admin, **{"username": "ada", **changed})

    assert response.status_code == 200
    assert "errorlist" in response.content.decode()
    assert not Token.objects.exists()


def test_revoking_is_for_those_who_may_and_is_written_down(maker):
    make(maker)
    token = Token.objects.get()
    form = {"action": "revoke_selected", "_selected_action": [str(token.pk)]}

    client_of("vera", "view_token").post(LIST, form)
    assert Token.objects.get().revoked_at is None

    response = maker.post(LIST, form, follow=True)

    assert messages_of(response) == ["1 token revoked."]
    assert Token.objects.get().revoked_at is not None
    assert "revoked just now" in text_of(response)
    assert LogEntry.objects.latest("pk").get_change_message() == "Revoked."


@pytest.mark.parametrize("place", [LIST, ADD])
def test_without_the_permission_there_is_nothing_to_see(stranger, place):
    assert stranger.get(place).status_code == 403


def test_a_viewer_makes_no_tokens():
    viewer = client_of("vera", "view_token")

    assert viewer.get(LIST).status_code == 200
    assert make(viewer).status_code == 403


def test_a_list_of_many_tokens_costs_as_many_queries_as_one(maker, django_assert_max_num_queries):
    user = User.objects.get(username="mia")
    for number in range(20):
        tokens.issue(user, name=f"token {number}")

    with django_assert_max_num_queries(8):
        maker.get(LIST)


def test_rights_are_given_in_the_admin_and_are_in_its_history(admin):
    robot = User.objects.create_user("robot")
    form = {"pipeline": "demo/task", "user": robot.pk, "group": "", "run": "on"}

    assert admin.post(f"{RIGHTS}add/", form).status_code == 302

    right = PipelinePermission.objects.get()
    assert (right.user, right.run, right.cancel) == (robot, True, False)
    assert LogEntry.objects.get().object_id == str(right.pk)
    assert "robot" in text_of(admin.get(RIGHTS))


def test_a_right_of_nobody_is_refused_beside_the_form(admin):
    response = admin.post(f"{RIGHTS}add/", {"pipeline": "demo/task", "user": "", "group": ""})

    assert "A right belongs to a user or to a group" in text_of(response)
    assert not PipelinePermission.objects.exists()


def test_who_sees_tasks_sees_no_tokens_and_no_rights(viewer):
    assert viewer.get(LIST).status_code == 403
    assert viewer.get(RIGHTS).status_code == 403
