"""Error pages look like the admin and link back to it, outside the admin too."""

from __future__ import annotations

import pytest
from django.core.exceptions import PermissionDenied
from django.db import InterfaceError, OperationalError, connection
from django.test import Client, RequestFactory

from demo import urls
from tests.support.admin_pages import LIST, text_of

STYLES = "taskqueue/admin.css"
BACK = 'href="/admin/">Home'


@pytest.fixture
def unreachable():
    """A context in which the database is unreachable."""

    def fail(_run, *_arguments):
        raise OperationalError("connection refused")

    return lambda: connection.execute_wrapper(fail)


def test_a_404_outside_the_admin_links_back(client):
    response = client.get("/no/such/page")

    assert response.status_code == 404
    assert "Page not found" in text_of(response)
    assert BACK in response.content.decode()
    assert STYLES in response.content.decode()


def test_403_and_500_link_back(rf: RequestFactory):
    for status, response in (
        (403, urls.handler403(rf.get("/"), PermissionDenied())),
        (500, urls.handler500(rf.get("/"))),
    ):
        assert response.status_code == status
        assert BACK in response.content.decode()
        assert STYLES in response.content.decode()


def test_a_csrf_failure_asks_to_send_the_form_again(settings):
    response = Client(enforce_csrf_checks=True).post("/admin/login/", {"username": "ada"})

    assert response.status_code == 403
    assert "This form is out of date" in text_of(response)
    assert "reload the page and send the form again" in text_of(response)
    assert BACK in response.content.decode()
    assert STYLES in response.content.decode()


@pytest.mark.parametrize("address", ["/admin/", LIST, "/admin/auth/user/", "/admin/taskqueue/overview/"])
def test_without_the_database_a_page_offers_to_reload(viewer, unreachable, address):
    with unreachable():
        response = viewer.get(f"{address}?page=2")

    assert response.status_code == 503
    assert response["Retry-After"] == "2"
    assert "The database does not answer" in text_of(response)
    assert f'href="{address}?page=2">Reload' in response.content.decode()
    assert STYLES in response.content.decode()


def test_without_the_database_the_login_is_a_503(client, viewer, unreachable):
    with unreachable():
        assert viewer.get("/admin/login/").status_code == 503
        sent = client.post("/admin/login/", {"username": "ada", "password": "secret"})

    assert sent.status_code == 503
    assert "Your change may or may not have been saved." in text_of(sent)
    assert "Reload" not in text_of(sent)


def test_a_connection_that_breaks_within_a_page_is_a_503(viewer):
    def fail(run, sql, *arguments):
        if "taskqueue_task" in sql:
            raise InterfaceError("connection already closed")
        return run(sql, *arguments)

    with connection.execute_wrapper(fail):
        assert viewer.get(LIST).status_code == 503
