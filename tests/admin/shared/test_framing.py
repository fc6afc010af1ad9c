"""Pages that are refused or missing look like the rest and lead back; every page is English as a whole."""

from __future__ import annotations

import pytest
from django.utils import translation

from tests.support.admin_pages import LIST, button_of, text_of

BACK = 'href="/admin/">To the first page'


@pytest.mark.parametrize("address", [LIST, "/admin/taskqueue/overview/", "/admin/auth/user/"])
def test_a_refused_page_says_so_and_leads_back(stranger, address):
    response = stranger.get(address)

    assert response.status_code == 403
    assert "You may not do this Your account has no permission for this page." in text_of(response)
    assert BACK in response.content.decode()
    assert "taskqueue/admin.css" in response.content.decode()


def test_a_missing_page_leads_back(operator):
    for address in ("/admin/no/such/page/", "/admin/taskqueue/bulkoperation/new/no-such/"):
        response = operator.get(address)

        assert response.status_code == 404
        assert "There is no such page" in text_of(response)
        assert BACK in response.content.decode()


def test_staff_without_rights_are_told_whom_to_ask(stranger):
    response = stranger.get("/admin/")

    assert "You are signed in as stan. Ask an administrator of this site for permissions" in text_of(response)
    assert "taskqueue/admin.css" in response.content.decode()


def test_the_login_wears_the_same_colours(client):
    body = client.get("/admin/login/").content.decode()

    assert "taskqueue/admin.css" in body
    assert "tq-plain login" in body or "login tq-plain" in body


@pytest.mark.parametrize("address", ["/admin/", "/admin/taskqueue/overview/", LIST, "/admin/taskqueue/pipeline/"])
def test_a_page_of_ours_is_english_in_a_german_project(operator, admin, settings, address):
    settings.LANGUAGE_CODE = "de"
    with translation.override("de"):
        text = text_of(admin.get(address))

    assert "Log out" in text
    assert "Abmelden" not in text
    assert "Willkommen" not in text


def test_messages_and_the_page_after_them_are_english_and_the_language_is_as_before(operator, failed, settings):
    with translation.override("de"):
        text = text_of(operator.post(button_of(failed, "cancel"), follow=True))
        assert translation.get_language() == "de"

    assert "Cannot cancel: the task is now failed." in text
    assert "Home" in text


def test_the_api_s_documentation_is_a_click_away_and_leads_back(admin):
    assert 'href="/api/docs">API docs' in admin.get(LIST).content.decode()
    assert "View site" not in text_of(admin.get(LIST))
    assert 'href="/admin/">Back to the admin' in admin.get("/api/docs").content.decode()
    assert 'href="/admin/">Back to the admin' in admin.get("/api/redoc").content.decode()
