"""Bearer tokens in the API and in `manage.py token`."""

from __future__ import annotations

import hashlib
import shlex
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import Group, Permission, User
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models import F
from django.db.models.functions import Now
from django.test import Client

from taskqueue.engine.actions import tokens
from taskqueue.models import Task, Token
from tests.support.api import BODY, ENDPOINTS, Api, call, enqueue_order, grant, problem_of

UNUSED_SECRET = "tq_" + "x" * 43


@pytest.fixture
def robot(db: None) -> User:
    """A user without a login and without access to the admin."""
    return User.objects.create_user("robot", is_staff=False)


def allow(user: User, *codenames: str) -> None:
    user.user_permissions.set(Permission.objects.filter(content_type__app_label="taskqueue", codename__in=codenames))


def caller(secret: str, **extra: Any) -> Api:
    return Api(HTTP_AUTHORIZATION=f"Bearer {secret}", **extra)


def issued(user: User, **options: Any) -> str:
    return tokens.issue(user, name="nightly", **options)[1]


@pytest.mark.parametrize(("method", "path", "permission"), ENDPOINTS)
def test_a_token_may_do_what_its_user_may(robot, failed, method, path, permission):
    task = enqueue_order("A") if "cancel" in path else failed
    allow(robot, permission, "view_task")

    assert call(caller(issued(robot)), method, path, task).status_code in {200, 202}


@pytest.mark.parametrize(("method", "path", "permission"), ENDPOINTS)
def test_a_token_may_not_do_what_its_user_may_not(robot, queued, method, path, permission):
    assert problem_of(call(caller(issued(robot)), method, path, queued)) == (403, "not-allowed", [])


def test_a_token_needs_no_csrf_token(robot):
    allow(robot, "add_task")

    assert caller(issued(robot), enforce_csrf_checks=True).post("/api/tasks", BODY).status_code == 202


def test_without_login_the_challenge_is_a_bearer_token(anonymous):
    response = anonymous.get("/api/tasks")

    assert problem_of(response) == (401, "login-required", [])
    assert response["WWW-Authenticate"] == 'Bearer realm="taskqueue"'


@pytest.mark.parametrize("secret", ["", "nonsense", "tq_", UNUSED_SECRET, "\xff\xfe", "a b", "x" * 10_000])
def test_a_token_that_does_not_exist_is_refused(robot, secret):
    response = caller(secret).get("/api/tasks")

    assert problem_of(response) == (401, "invalid-token", [])
    assert response.json()["detail"] == "There is no such token."
    assert response["WWW-Authenticate"] == 'Bearer realm="taskqueue", error="invalid_token"'


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"expires_at": Now()}, "has expired"),
        ({"revoked_at": Now()}, "has been revoked"),
    ],
)
def test_a_token_that_has_expired_or_was_revoked_is_refused(robot, change, said):
    allow(robot, "view_task")
    secret = issued(robot, expires_in=timedelta(days=1))
    assert caller(secret).get("/api/tasks").status_code == 200

    Token.objects.update(**change)
    response = caller(secret).get("/api/tasks")

    assert problem_of(response) == (401, "invalid-token", [])
    assert said in response.json()["detail"]


def test_the_token_of_an_inactive_user_is_refused(robot):
    secret = issued(robot)
    User.objects.filter(pk=robot.pk).update(is_active=False)

    assert problem_of(caller(secret).get("/api/tasks")) == (401, "invalid-token", [])


def test_a_session_does_not_replace_an_invalid_token(admin_client):
    response = admin_client.get("/api/tasks", headers={"Authorization": f"Bearer {UNUSED_SECRET}"})

    assert response.status_code == 401


def test_another_authorization_scheme_is_ignored(admin_client):
    assert admin_client.get("/api/tasks", headers={"Authorization": "Basic eA=="}).status_code == 200


def test_the_scheme_is_read_in_any_case(robot):
    allow(robot, "view_task")

    assert Api(HTTP_AUTHORIZATION=f"bearer {issued(robot)}").get("/api/tasks").status_code == 200


def test_in_debug_a_tokens_permissions_are_checked(robot, settings):
    settings.DEBUG = True

    assert caller(issued(robot), SERVER_NAME="localhost").get("/api/tasks").status_code == 403


def test_only_digest_and_prefix_of_a_secret_are_stored(robot):
    token, secret = tokens.issue(robot, name="nightly")

    kept = Token.objects.filter(pk=token.pk).values().get()

    assert len(secret) == 46
    assert kept["digest"] == hashlib.sha256(secret.encode()).hexdigest()
    assert kept["prefix"] == secret[:9]
    assert secret not in str(kept)


def test_a_token_is_found_by_one_query_on_an_index(robot, django_assert_num_queries):
    secret = issued(robot)
    tokens.find(secret)

    with django_assert_num_queries(1):
        tokens.find(secret)
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")  # which is cheaper while the table is as good as empty
    assert "taskqueue_token_digest" in Token.objects.filter(digest=tokens.digest_of(secret)).explain()


def test_a_token_is_read_with_its_user_as_by_the_orm(robot):
    secret = issued(robot, per_minute=60, expires_in=timedelta(days=1))
    tokens.find(secret)
    by_orm = Token.objects.select_related("user").get()

    token = tokens.find(secret)

    for found, expected in ((token, by_orm), (token.user, by_orm.user)):
        assert not found.get_deferred_fields()
        assert type(found) is type(expected)
        names = [field.attname for field in expected._meta.concrete_fields]
        assert [getattr(found, name) for name in names] == [getattr(expected, name) for name in names]


@pytest.mark.parametrize("is_superuser", [False, True])
def test_a_token_has_its_users_permissions_without_another_query(robot, is_superuser, django_assert_num_queries):
    allow(robot, "view_task", "add_task")
    robot.groups.add(group := Group.objects.create(name="operators"))
    group.permissions.set(Permission.objects.filter(codename__in=["retry_task", "view_task"]))
    Group.objects.create(name="others").permissions.set(Permission.objects.filter(codename="cancel_task"))
    User.objects.filter(pk=robot.pk).update(is_superuser=is_superuser)
    secret = issued(robot)
    tokens.find(secret)

    with django_assert_num_queries(1):
        user = tokens.find(secret).user
        allowed = [name for name in ("add", "view", "retry", "cancel") if user.has_perm(f"taskqueue.{name}_task")]

    assert allowed == ["add", "view", "retry", "cancel"][: 4 if is_superuser else 3]
    fresh = User.objects.get(pk=robot.pk)
    for method in ("get_user_permissions", "get_group_permissions", "get_all_permissions"):
        assert getattr(user, method)() == getattr(fresh, method)()


class NightBackend(ModelBackend):
    """A project's backend, with rules of its own."""

    def _get_user_permissions(self, user: Any) -> Any:
        return Permission.objects.filter(codename="cancel_task")


def test_a_projects_own_backend_decides_on_permissions(robot, settings):
    settings.AUTHENTICATION_BACKENDS = [f"{__name__}.NightBackend"]
    allow(robot, "view_task")
    user = tokens.find(issued(robot)).user

    assert user.has_perm("taskqueue.cancel_task")
    assert not user.has_perm("taskqueue.view_task")


def test_a_request_with_a_token_costs_one_query_more(robot, queued, django_assert_num_queries):
    allow(robot, "view_task")
    robot_caller = caller(issued(robot))
    robot_caller.get("/api/tasks")

    with django_assert_num_queries(1 + 2):
        assert robot_caller.get(f"/api/tasks/{queued.pk}/status").status_code == 200


def test_grants_are_read_only_if_a_pipeline_has_any(robot, django_assert_num_queries):
    allow(robot, "add_task")
    robot_caller = caller(issued(robot))
    assert robot_caller.post("/api/tasks", BODY).status_code == 202

    with django_assert_num_queries(2):  # the token, and ENQUEUE
        assert robot_caller.post("/api/tasks", BODY).status_code == 202
    grant(user=User.objects.create_user("dana"), run=True)
    with django_assert_num_queries(2):  # the token, and the grants
        assert robot_caller.post("/api/tasks", BODY).status_code == 403


def test_last_used_at_is_written_once_a_minute(robot):
    secret = issued(robot)
    tokens.find(secret)
    first = Token.objects.get().last_used_at

    tokens.find(secret)
    assert first is not None
    assert Token.objects.get().last_used_at == first

    Token.objects.update(last_used_at=F("last_used_at") - timedelta(seconds=61))
    tokens.find(secret)
    assert Token.objects.get().last_used_at > first - timedelta(seconds=1)


def test_health_checks_ignore_tokens(db):
    assert caller("nonsense").get("/api/health/live").status_code == 200


def test_the_command_creates_a_token(robot, capsys):
    allow(robot, "view_task")

    call_command("token", "create", "nightly", "--user", "robot", "--expires", "90d", "--per-minute", "60")

    secret = capsys.readouterr().out.strip()
    token = Token.objects.get()
    assert caller(secret).get("/api/tasks").status_code == 200
    assert (token.name, token.per_minute) == ("nightly", 60)
    assert token.expires_at is not None
    assert timedelta(days=89) < token.expires_at - token.created_at <= timedelta(days=91)


def test_the_command_lists_the_tokens_permissions(robot, capsys):
    allow(robot, "view_task", "add_task")

    call_command("token", "create", "nightly", "--user", "robot")

    said = capsys.readouterr().err
    assert "As robot it has these permissions: taskqueue.add_task, taskqueue.view_task." in said
    assert "Warning" not in said


def test_a_superusers_token_may_do_everything(admin_user, capsys):
    call_command("token", "create", "nightly", "--user", "admin")

    assert "As admin it has every permission (superuser)." in capsys.readouterr().err


def test_the_command_warns_of_a_token_without_permissions(robot, capsys):
    call_command("token", "create", "nightly", "--user", "robot")

    printed = capsys.readouterr()
    assert "Warning: robot has no permission of taskqueue" in printed.err
    line = next(line for line in printed.err.splitlines() if "manage.py shell" in line)
    _python, _manage, _shell, option, code = shlex.split(line)
    assert option == "-c"
    exec(compile(code, "line", "exec"))  # noqa: S102 - what a person would run
    assert caller(printed.out.strip()).post("/api/tasks", BODY).status_code == 202


def test_the_command_lists_and_revokes_tokens(robot, capsys):
    token, secret = tokens.issue(robot, name="nightly")

    call_command("token", "list")
    listed = capsys.readouterr().out
    call_command("token", "revoke", str(token.pk))

    assert "nightly" in listed
    assert secret[:9] in listed
    assert secret not in listed
    assert problem_of(caller(secret).get("/api/tasks")) == (401, "invalid-token", [])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("create", "nightly", "--user", "missing"), "no user 'missing'"),
        (("create", "nightly", "--user", "robot", "--expires", "soon"), "90d, 12h or never"),
        (("create", "nightly", "--user", "robot", "--expires", "99999999d"), "90d, 12h or never"),
        (("create", "nightly", "--user", "robot", "--per-minute", "0"), "1 or more"),
        (("create", "", "--user", "robot"), "1 to 100 characters"),
        (("revoke", "999"), "no valid token 999"),
    ],
)
def test_the_command_refuses_invalid_arguments(robot, words, said):
    with pytest.raises(CommandError, match=said):
        call_command("token", *words)
    assert not Token.objects.exists()


def test_a_secret_is_in_no_log(robot, caplog):
    caplog.set_level("DEBUG")
    secret = issued(robot)

    caller(secret).get("/api/tasks")
    caller(UNUSED_SECRET).get("/api/tasks")

    assert secret not in caplog.text
    assert UNUSED_SECRET not in caplog.text


def test_a_token_works_with_a_session_cookie_of_another_user(robot, admin_client: Client):
    """A browser's session must not add to what a token may do."""
    response = admin_client.get("/api/tasks", headers={"Authorization": f"Bearer {issued(robot)}"})

    assert response.status_code == 403
    assert not Task.objects.exists()
