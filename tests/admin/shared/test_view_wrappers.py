"""Error pages look like the admin and link home; every page is in English."""

from __future__ import annotations

import pytest
from django.utils import translation

from tests.support.admin_pages import LIST, button_of, text_of

HOME_LINK = 'href="/admin/">Home'


@pytest.mark.parametrize("address", [LIST, "/admin/taskqueue/overview/", "/admin/auth/user/"])
def test_a_refused_page_links_home(stranger, address):
    response = stranger.get(address)

    assert response.status_code == 403
    assert "Permission denied Your account has no permission for this page." in text_of(response)
    assert HOME_LINK in response.content.decode()
    assert "taskqueue/admin.css" in response.content.decode()


def test_a_missing_page_links_home(operator):
    for address in ("/admin/no/such/page/", "/admin/taskqueue/bulkoperation/new/no-such/"):
        response = operator.get(address)

        assert response.status_code == 404
        assert "Page not found" in text_of(response)
        assert HOME_LINK in response.content.decode()


def test_staff_without_permissions_are_told_to_ask_an_administrator(stranger):
    response = stranger.get("/admin/")

    assert "You are signed in as stan. Ask an administrator of this site for permissions" in text_of(response)
    assert "taskqueue/admin.css" in response.content.decode()


def test_the_login_page_has_our_style(client):
    body = client.get("/admin/login/").content.decode()

    assert "taskqueue/admin.css" in body
    assert "tq-plain login" in body or "login tq-plain" in body


@pytest.mark.parametrize("address", ["/admin/", "/admin/taskqueue/overview/", LIST, "/admin/taskqueue/pipeline/"])
def test_pages_are_english_in_a_german_project(operator, admin, settings, address):
    settings.LANGUAGE_CODE = "de"
    with translation.override("de"):
        text = text_of(admin.get(address))

    assert "Log out" in text
    assert "Abmelden" not in text
    assert "Willkommen" not in text


def test_messages_are_english_and_the_active_language_is_restored(operator, failed, settings):
    with translation.override("de"):
        text = text_of(operator.post(button_of(failed, "cancel"), follow=True))
        assert translation.get_language() == "de"

    assert "Cannot cancel: the task is now failed." in text
    assert "Home" in text


def test_admin_and_api_docs_link_to_each_other(admin):
    assert 'href="/api/docs">API docs' in admin.get(LIST).content.decode()
    assert "View site" not in text_of(admin.get(LIST))
    assert 'href="/admin/">Back to the admin' in admin.get("/api/docs").content.decode()
    assert 'href="/admin/">Back to the admin' in admin.get("/api/redoc").content.decode()
