"""No URL and no form input makes an admin page fail with a server error."""

from __future__ import annotations

from urllib.parse import quote, quote_from_bytes

import pytest
from django.apps import apps
from django.contrib import admin as django_admin
from hypothesis import example, given, settings
from hypothesis import strategies as st

from taskqueue.models import Task
from tests.support.hostile_input import any_text, hold
from tests.support.properties import examples

pytestmark = pytest.mark.property


PARAMETERS = [
    "q", "p", "o", "e", "all", "status", "pipeline", "created", "retried", "kind", "id__lt", "id__lt__in", "pk",
    "_popup", "_to_field", "_changelist_filters", "_facets", "labels", "key__startswith", "payload__a", "name",
    "pipeline__name", "worker__host", "task__id__exact", "status__in", "status__isnull", "created_at__gte", "until",
    "range", "window", "hours",
]  # fmt: skip
MODELS = [model for model in apps.get_app_config("taskqueue").get_models() if model in django_admin.site._registry]


LISTS = [f"/admin/taskqueue/{model._meta.model_name}/" for model in MODELS]
ENDINGS = ["{}/change/", "{}/", "{}/history/", "{}/delete/"]


@pytest.fixture(autouse=True)
def _rows(failed):
    """Rows for the lists."""


def test_any_text_in_any_parameter_of_a_list(admin):
    @settings(hold, max_examples=examples(400))
    @given(st.sampled_from(LISTS), st.sampled_from(PARAMETERS), any_text)
    def request(url, name, text):
        value = quote(text, safe="", errors="surrogatepass")
        assert admin.get(f"{url}?{name}={value}").status_code < 500

    request()


@pytest.mark.parametrize("name", ["q", "p", "status", "pipeline", "created", "retried", "id__lt"])
def test_any_text_in_each_parameter_of_the_task_list(admin, name):
    @hold
    @given(any_text)
    def request(text):
        value = quote(text, safe="", errors="surrogatepass")
        assert admin.get(f"/admin/taskqueue/task/?{name}={value}", follow=True).status_code < 500

    request()


def test_any_query_string(admin):
    @settings(hold, max_examples=examples(400))
    @given(
        st.sampled_from(LISTS),
        st.binary(max_size=30).map(quote_from_bytes) | st.text(st.characters(codec="ascii"), max_size=30),
    )
    @example(LISTS[0], "&".join(f"a{number}=1" for number in range(1500)))
    @example(LISTS[0], "q=" + "x" * 3000)
    @example(LISTS[0], "status=failed&status=queued&p=0&p=x")
    def request(url, query):
        assert admin.get(url, QUERY_STRING=query).status_code < 500

    request()


def test_any_text_as_a_row_id(admin):
    @settings(hold, max_examples=examples(400))
    @given(st.sampled_from(LISTS), st.sampled_from(ENDINGS), any_text | st.binary(max_size=10))
    def request(url, ending, part):
        raw = part if isinstance(part, bytes) else part.encode(errors="surrogatepass")
        assert admin.get(url + ending.format(quote_from_bytes(raw, safe="")), follow=True).status_code < 500

    request()


@pytest.mark.parametrize("action", ["retry", "cancel", "rerun"])
def test_any_text_in_a_form_of_a_task(admin, failed, action):
    @hold
    @given(st.sampled_from(["from_step", "reason", "x"]), any_text)
    def send(name, text):
        body = f"{name}={quote(text, safe='', errors='surrogatepass')}"
        response = admin.post(
            f"/admin/taskqueue/task/{failed.pk}/{action}/", body, content_type="application/x-www-form-urlencoded"
        )
        assert response.status_code < 500

    send()


def test_any_selection_in_the_task_list(admin, failed):
    @hold
    @given(any_text, any_text)
    def send(action, chosen):
        parts = {"action": action, "_selected_action": chosen, "index": chosen, "select_across": chosen}
        body = "&".join(f"{name}={quote(text, safe='', errors='surrogatepass')}" for name, text in parts.items())
        for text in (body, f"action=retry_selected&_selected_action={quote(chosen, safe='', errors='surrogatepass')}"):
            response = admin.post(
                "/admin/taskqueue/task/", text, content_type="application/x-www-form-urlencoded", follow=True
            )
            assert response.status_code < 500

    send()


@pytest.mark.parametrize("action", ["pause", "resume"])
def test_any_text_in_the_pause_form(admin, action):
    @hold
    @given(any_text)
    def send(text):
        body = f"reason={quote(text, safe='', errors='surrogatepass')}"
        url = f"/admin/taskqueue/pipeline/demo_2Ftask/{action}/"
        response = admin.post(url, body, content_type="application/x-www-form-urlencoded", follow=True)
        assert response.status_code < 500

    send()


@pytest.mark.parametrize("payload", [{"colour": "<b>"}, [], "text", 5])
def test_an_invalid_payload_is_shown_and_not_rerun(admin, failed, payload):
    Task.objects.filter(pk=failed.pk).update(payload=payload)

    page = f"/admin/taskqueue/task/{failed.pk}/change/"
    assert admin.get(page).status_code == 200
    response = admin.post(f"/admin/taskqueue/task/{failed.pk}/rerun/", {"confirmed": "1"}, follow=True)
    assert response.status_code == 200
    assert "The payload has" in response.content.decode()
    assert Task.objects.count() == 1
