"""What is missing, refused, broken or without a database looks like the rest and leads back, outside the admin too."""

from __future__ import annotations

import pytest
from django.core.exceptions import PermissionDenied
from django.db import InterfaceError, OperationalError, connection
from django.test import Client, RequestFactory

from demo import urls
from tests.support.admin_pages import LIST, text_of

STYLES = "taskqueue/admin.css"
BACK = 'href="/admin/">To the first page'


@pytest.fixture
def unreachable():
    """A database that answers nothing more, as soon as it is entered."""

    def fail(_run, *_arguments):
        raise OperationalError("connection refused")

    return lambda: connection.execute_wrapper(fail)


def test_a_missing_page_outside_the_admin_leads_back(client):
    response = client.get("/no/such/page")

    assert response.status_code == 404
    assert "There is no such page" in text_of(response)
    assert BACK in response.content.decode()
    assert STYLES in response.content.decode()


def test_the_other_refusals_of_the_project_lead_back(rf: RequestFactory):
    for status, response in (
        (403, urls.handler403(rf.get("/"), PermissionDenied())),
        (500, urls.handler500(rf.get("/"))),
    ):
        assert response.status_code == status
        assert BACK in response.content.decode()
        assert STYLES in response.content.decode()


def test_a_form_without_its_token_is_told_to_be_sent_again(settings):
    response = Client(enforce_csrf_checks=True).post("/admin/login/", {"username": "ada"})

    assert response.status_code == 403
    assert "This form is out of date" in text_of(response)
    assert "reload the page and send the form again" in text_of(response)
    assert BACK in response.content.decode()
    assert STYLES in response.content.decode()


@pytest.mark.parametrize("address", ["/admin/", LIST, "/admin/auth/user/", "/admin/taskqueue/overview/"])
def test_without_the_database_a_page_says_so_and_can_be_reloaded(viewer, unreachable, address):
    with unreachable():
        response = viewer.get(f"{address}?page=2")

    assert response.status_code == 503
    assert response["Retry-After"] == "2"
    assert "The database does not answer" in text_of(response)
    assert f'href="{address}?page=2">Reload' in response.content.decode()
    assert STYLES in response.content.decode()


def test_without_the_database_the_login_says_so(client, viewer, unreachable):
    with unreachable():
        assert viewer.get("/admin/login/").status_code == 503
        sent = client.post("/admin/login/", {"username": "ada", "password": "secret"})

    assert sent.status_code == 503
    assert "Your change may or may not have been made." in text_of(sent)
    assert "Reload" not in text_of(sent)


def test_a_connection_that_breaks_within_a_page_is_an_outage_too(viewer):
    def fail(run, sql, *arguments):
        if "taskqueue_task" in sql:
            raise InterfaceError("connection already closed")
        return run(sql, *arguments)

    with connection.execute_wrapper(fail):
        assert viewer.get(LIST).status_code == 503
