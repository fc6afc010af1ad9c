"""What only `manage.py taskqueue` has: the user of the operating system as the actor."""

from __future__ import annotations

import os
import pwd
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth import authenticate
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import DatabaseError, OperationalError
from pydantic import SecretStr

from taskqueue import pipeline
from taskqueue.cli import in_project
from taskqueue.models import Task
from tests.support.api import enqueue_order, grant
from tests.support.pipelines.secrets import PASSWORD, Login
from tests.support.registries import own_registry


def test_the_account_of_the_audit_is_created_once_and_cannot_log_in(project, failed, queued):
    project("list")
    assert not User.objects.exists()

    project("retry", failed.pk)
    project("cancel", queued.pk)

    account = User.objects.get()
    assert (account.username, account.is_active, account.is_superuser) == ("CLI: dana", False, False)
    assert not account.has_usable_password()
    assert authenticate(username="CLI: dana", password="x") is None


def test_closed_pipelines_are_open_to_the_project(project, queued):
    grant(cancel=True)

    assert project("cancel", queued.pk).code == 0
    assert "queued" in project("show", queued.pk).out


def test_secret_fields_are_masked(project):
    with own_registry():

        @pipeline("tests/login")
        def login(request: Login) -> None: ...

        task = login.enqueue(Login(user="kim", password=SecretStr(PASSWORD)))

        shown = project("show", task.pk)

    assert shown.code == 0
    assert PASSWORD not in shown.out
    assert "**********" in shown.out


def test_the_user_behind_sudo_is_named(monkeypatch):
    monkeypatch.undo()
    monkeypatch.delenv("SUDO_USER", raising=False)
    assert in_project.operating_system_user() == pwd.getpwuid(os.getuid()).pw_name

    monkeypatch.setenv("SUDO_USER", "kim")
    assert in_project.operating_system_user() == "kim"


def test_a_user_without_a_name_is_named_by_number(monkeypatch):
    def missing(_uid: int) -> Any:
        raise KeyError

    monkeypatch.undo()
    monkeypatch.delenv("SUDO_USER", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", missing)

    assert in_project.operating_system_user() == f"uid {os.getuid()}"


def test_without_an_account_no_action_is_done(project, failed, monkeypatch):
    def refuse(_manager: object, **_values: object) -> None:
        raise DatabaseError("null value in column company")

    monkeypatch.setattr(type(User.objects), "get_or_create", refuse)

    result = project("retry", failed.pk)

    assert (result.code, result.out) == (1, "")
    assert "Create an inactive account with this name." in result.err
    assert Task.objects.get().status == "failed"


def test_a_forced_submission_is_audited(project):
    words = ("submit", "anything", "--payload", '{"value": 1}', "--key", "k")
    project(*words)
    assert not LogEntry.objects.exists()

    project(*words, "--force")

    assert [entry.get_change_message() for entry in LogEntry.objects.all()] == ["Forced, with key k."]
    assert LogEntry.objects.get().user.get_username() == "CLI: dana"


def test_a_database_that_does_not_answer_is_unavailable(project, failed, monkeypatch):
    def refuse(*_arguments: object, **_values: object) -> None:
        raise OperationalError("the connection is lost")

    monkeypatch.setattr("taskqueue.api.tasks.queries.task_page", refuse)
    monkeypatch.setattr(type(User.objects), "get_or_create", refuse)

    for words in (("list",), ("retry", failed.pk)):
        result = project(*words)
        assert (result.code, result.out) == (5, "")
        assert "The database did not answer" in result.err


def test_other_code_can_call_the_command(project, capsys):
    task = enqueue_order("one")

    call_command("taskqueue", "list", "--quiet")

    assert capsys.readouterr().out == f"{task.pk}\n"
    with pytest.raises(SystemExit) as end:
        call_command("taskqueue", "retry", str(task.pk))
    assert end.value.code == 1
