"""The API speaks English, whatever language the project and the caller prefer."""

from __future__ import annotations

import pytest
from django.test import Client
from django.utils import translation

from taskqueue.api.openapi.schema import schema_with


@pytest.fixture
def in_german(settings):
    settings.LANGUAGE_CODE = "de"
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.middleware.locale.LocaleMiddleware"]
    settings.ROOT_URLCONF = "demo.urls"
    return Client(SERVER_NAME="localhost", headers={"Accept-Language": "de"})


def said(client: Client) -> list[object]:
    """The answers to requests that Django, DRF and taskqueue refuse."""
    schema_with.cache_clear()
    return [
        client.put("/api/tasks").json(),
        client.post("/api/tasks", b"x", content_type="text/plain").json(),
        client.post("/api/tasks", {"pipeline": "no/such"}, content_type="application/json").json(),
        client.get("/api/tasks?limit=many").json(),
        client.get("/api/tasks", headers={"Authorization": "Bearer no"}).json(),
        client.get("/api/tasks", headers={"Accept": "text/csv"}).json(),
        client.get("/api/schema").content.decode(),
    ]


def test_answers_are_english_in_every_language(db, settings, in_german):
    settings.DEBUG = True
    with translation.override("en"):
        english = said(Client(SERVER_NAME="localhost"))

    with translation.override("de"):
        assert said(in_german) == english
    assert 'lang="de"' in in_german.get("/admin/login/").content.decode()
