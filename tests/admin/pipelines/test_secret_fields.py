"""Secrets in the forms that make tasks: typed unseen, never filled in, and the mask is never a value."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from pydantic import BaseModel, Field, SecretBytes, SecretStr

from taskqueue import Permanent, TaskEnded, pipeline
from taskqueue.admin.shared import secret_fields
from taskqueue.engine.catalog.sync import sync_pipelines
from taskqueue.masks import MASK
from taskqueue.models import Task
from taskqueue.testing import work
from tests.support.admin_pages import button_of, text_of
from tests.support.registries import own_registry

SUBMIT = "/admin/taskqueue/pipeline/forms_2Fvault/submit/"


class Account(BaseModel):
    user: str = "dana"
    token: SecretStr = SecretStr("t-default")


class Vault(BaseModel):
    name: str = "main"
    password: SecretStr
    pin: int = Field(default=1234, json_schema_extra={"secret": True})
    key: SecretBytes | None = None
    is_test: bool = Field(default=True, json_schema_extra={"secret": True})
    account: Account = Account()
    accounts: list[Account] = [Account()]
    codes: list[SecretStr] = [SecretStr("c-default")]


@pipeline("forms/vault")
def vault(request: Vault) -> None: ...


@pytest.fixture
def keeper(operator: Client) -> Client:
    """An operator who may see payloads."""
    may = Permission.objects.get(codename="view_task_payload")
    User.objects.get(username="olga").user_permissions.add(may)
    return operator


@pytest.fixture
def task() -> Task:
    return vault.enqueue(
        Vault(
            password=SecretStr("p-original"),
            accounts=[Account(user="a", token=SecretStr("tok-a")), Account(user="b", token=SecretStr("tok-b"))],
        )
    )


def field(body: str, name: str) -> str:
    """A field's element."""
    return re.search(rf'<(?:input|textarea|select)[^>]*name="{re.escape(name)}".*?>', body, re.DOTALL)[0]


def made(*others: Task) -> dict[str, Any]:
    """The payload of the one task that is there besides these."""
    return Task.objects.exclude(pk__in=[other.pk for other in others]).get().payload


def test_the_submit_form_shows_no_secret_and_no_mask(keeper):
    body = keeper.get(SUBMIT).content.decode()

    for name in ("password", "pin", "key", "account/token"):
        assert 'type="password"' in field(body, f"payload/{name}")
        assert "value=" not in field(body, f"payload/{name}")
    assert MASK not in body
    assert "t-default" not in body
    assert "c-default" not in body
    assert "Leave empty for the default." in body


def test_what_is_left_empty_has_its_default(keeper):
    keeper.post(SUBMIT, {"payload/name": "x", "payload/password": "p-1", "payload/account/user": "u"})

    payload = made()
    assert payload["password"] == "p-1"
    assert (payload["pin"], payload["key"], payload["is_test"]) == (1234, None, True)
    assert payload["account"] == {"user": "u", "token": "t-default"}
    assert payload["codes"] == ["c-default"]


def test_what_is_typed_is_the_value_of_its_own_kind(keeper):
    typed = {"pin": "77", "password": " p ", "key": "k", "is_test": "no", "account/token": "t", "codes": '["c"]'}
    keeper.post(SUBMIT, {f"payload/{name}": value for name, value in typed.items()})

    payload = made()
    assert (payload["pin"], payload["password"], payload["key"], payload["is_test"]) == (77, " p ", "k", False)
    assert payload["account"]["token"] == "t"
    assert payload["codes"] == ["c"]


@pytest.mark.parametrize("name", ["password", "key", "account/token", "codes", "accounts"])
def test_the_mask_is_refused_beside_its_field(keeper, name):
    typed = {"codes": f'["c", "{MASK}"]', "accounts": f'[{{"token": "{MASK}"}}]'}.get(name, MASK)

    response = keeper.post(SUBMIT, {"payload/password": "p-1", f"payload/{name}": typed})

    assert "This is the mask of a secret, not its value." in text_of(response)
    assert "Nothing was submitted." in text_of(response)
    assert not Task.objects.exists()


def test_a_required_secret_is_missed_and_what_else_was_typed_comes_back(keeper):
    response = keeper.post(SUBMIT, {"payload/account/token": "t-typed"})

    assert "Field required" in text_of(response)
    assert 'value="t-typed"' in field(response.content.decode(), "payload/account/token")
    assert "no-store" in response["Cache-Control"]


def test_the_form_of_a_rerun_shows_no_secret_and_keeps_those_that_are_left_empty(keeper, task):
    body = keeper.get(button_of(task, "edit")).content.decode()
    for secret in ("p-original", "tok-a", "tok-b", "t-default", "c-default", "1234", MASK):
        assert secret not in body
    assert 'type="password"' in field(body, "secret/accounts/1/token")

    text = json.loads(re.search(r"<textarea[^>]*>(.*?)</textarea>", body, re.DOTALL)[1].replace("&quot;", '"'))
    keeper.post(
        button_of(task, "edit"),
        {"payload": json.dumps({**text, "name": "other"}), "secret/account/token": "t-new", "secret/codes": '["c-2"]'},
    )

    expected = {**task.payload, "name": "other", "codes": ["c-2"], "account": {"user": "dana", "token": "t-new"}}
    assert made(task) == expected


@pytest.mark.parametrize(
    ("payload", "secrets", "says"),
    [
        ({"password": MASK}, {}, "/password This is the mask of a secret, not its value."),
        ({}, {"secret/password": MASK}, "/password This is the mask of a secret, not its value."),
        ({}, {"secret/codes": "[c"}, "/codes This is not JSON"),
        ({"accounts": [{"user": "b"}, {"user": "a"}]}, {}, "/accounts/0/token What it belongs to was changed."),
    ],
)
def test_a_secret_in_doubt_is_refused_with_its_place(keeper, task, payload, secrets, says):
    response = keeper.post(button_of(task, "edit"), {"payload": json.dumps(payload), **secrets})

    assert says in text_of(response)
    assert Task.objects.count() == 1


def test_an_object_that_was_taken_out_takes_its_secret_along(keeper, task):
    keeper.post(button_of(task, "edit"), {"payload": '{"accounts": [{"user": "a"}], "password": "p-2"}'})

    payload = made(task)
    assert payload["accounts"] == [{"user": "a", "token": "tok-a"}]
    assert payload["account"]["token"] == "t-default"
    assert payload["password"] == "p-2"


def test_a_value_that_is_a_secret_as_a_whole_is_split_off():
    assert secret_fields.split({"a": 1}, {"secret": True}) == (None, {(): {"a": 1}})


def test_the_handler_of_a_task_that_was_stored_with_a_mask_is_told_without_its_payload():
    told = []
    with own_registry():

        @pipeline("forms/handled")
        def handled(request: Account) -> None:
            raise Permanent("no")

        @handled.on_failure
        def handler(ended: TaskEnded) -> None:
            told.append((ended.error["message"], ended.payload))

        sync_pipelines()
        task = handled.enqueue(Account())
        Task.objects.filter(pk=task.pk).update(payload={"user": "dana", "token": MASK})
        work()
        work()

    assert told == [("no", None)]
