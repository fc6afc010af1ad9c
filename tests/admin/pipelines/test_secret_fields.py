"""Secrets in the forms that submit tasks: typed invisibly, never filled in, and the mask is never a value."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from pydantic import BaseModel, Field, SecretBytes, SecretStr

from taskqueue import Permanent, TaskEnded, pipeline
from taskqueue.engine.catalog.sync import sync_pipelines
from taskqueue.forms import form_secrets
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
    """The HTML element of a field."""
    return re.search(rf'<(?:input|textarea|select)[^>]*name="{re.escape(name)}".*?>', body, re.DOTALL)[0]


def payload_of_new_task(*others: Task) -> dict[str, Any]:
    """The payload of the only task that is not one of these."""
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


def test_an_empty_secret_has_its_default(keeper):
    keeper.post(SUBMIT, {"payload/name": "x", "payload/password": "p-1", "payload/account/user": "u"})

    payload = payload_of_new_task()
    assert payload["password"] == "p-1"
    assert (payload["pin"], payload["key"], payload["is_test"]) == (1234, None, True)
    assert payload["account"] == {"user": "u", "token": "t-default"}
    assert payload["codes"] == ["c-default"]


def test_a_typed_secret_is_converted_to_its_kind(keeper):
    typed = {"pin": "77", "password": " p ", "key": "k", "is_test": "no", "account/token": "t", "codes": '["c"]'}
    keeper.post(SUBMIT, {f"payload/{name}": value for name, value in typed.items()})

    payload = payload_of_new_task()
    assert (payload["pin"], payload["password"], payload["key"], payload["is_test"]) == (77, " p ", "k", False)
    assert payload["account"]["token"] == "t"
    assert payload["codes"] == ["c"]


@pytest.mark.parametrize("name", ["password", "key", "account/token", "codes", "accounts"])
def test_the_mask_is_refused_as_a_value(keeper, name):
    typed = {"codes": f'["c", "{MASK}"]', "accounts": f'[{{"token": "{MASK}"}}]'}.get(name, MASK)

    response = keeper.post(SUBMIT, {"payload/password": "p-1", f"payload/{name}": typed})

    assert "This is the mask of a secret, not its value." in text_of(response)
    assert "The task was not submitted." in text_of(response)
    assert not Task.objects.exists()


def test_a_missing_secret_is_an_error_and_typed_values_come_back(keeper):
    response = keeper.post(SUBMIT, {"payload/account/token": "t-typed"})

    assert "Field required" in text_of(response)
    assert 'value="t-typed"' in field(response.content.decode(), "payload/account/token")
    assert "no-store" in response["Cache-Control"]


def test_a_rerun_form_shows_no_secret_and_keeps_empty_ones(keeper, task):
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
    assert payload_of_new_task(task) == expected


@pytest.mark.parametrize(
    ("payload", "secrets", "error"),
    [
        ({"password": MASK}, {}, "/password This is the mask of a secret, not its value."),
        ({}, {"secret/password": MASK}, "/password This is the mask of a secret, not its value."),
        ({}, {"secret/codes": "[c"}, "/codes This is not JSON"),
        (
            {"accounts": [{"user": "b"}, {"user": "a"}]},
            {},
            "/accounts/0/token The list item of this secret was edited.",
        ),
    ],
)
def test_an_ambiguous_secret_is_refused_with_its_pointer(keeper, task, payload, secrets, error):
    response = keeper.post(button_of(task, "edit"), {"payload": json.dumps(payload), **secrets})

    assert error in text_of(response)
    assert Task.objects.count() == 1


def test_a_removed_object_removes_its_secret(keeper, task):
    keeper.post(button_of(task, "edit"), {"payload": '{"accounts": [{"user": "a"}], "password": "p-2"}'})

    payload = payload_of_new_task(task)
    assert payload["accounts"] == [{"user": "a", "token": "tok-a"}]
    assert payload["account"]["token"] == "t-default"
    assert payload["password"] == "p-2"


def test_a_whole_secret_is_split_off():
    assert form_secrets.split_secrets({"a": 1}, {"secret": True}) == (None, {(): {"a": 1}})


def test_a_handler_gets_no_payload_that_was_stored_masked():
    calls = []
    with own_registry():

        @pipeline("forms/handled")
        def handled(request: Account) -> None:
            raise Permanent("no")

        @handled.on_failure
        def handler(ended: TaskEnded) -> None:
            calls.append((ended.error["message"], ended.payload))

        sync_pipelines()
        task = handled.enqueue(Account())
        Task.objects.filter(pk=task.pk).update(payload={"user": "dana", "token": MASK})
        work()
        work()

    assert calls == [("no", None)]
