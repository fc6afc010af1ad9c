"""No input in our forms, searches and URLs makes an admin page fail with a server error."""

from __future__ import annotations

import re
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskqueue.admin.search import parameters
from taskqueue.models import BulkOperation, Event, RateLimit
from tests.support.hostile_input import any_text, hold
from tests.support.properties import examples

pytestmark = [pytest.mark.property, pytest.mark.usefixtures("failed")]

FORM = "application/x-www-form-urlencoded"
TASKS, PIPELINE = "/admin/taskqueue/task/", "/admin/taskqueue/pipeline/demo_2Ftask/"
few_examples = settings(hold, max_examples=examples(25))

any_search = st.tuples(
    st.sampled_from(["", "id:", "key:", "error:", "payload.", "payload.a:", "label:", "step:", "worker:", "x:", ":"]),
    any_text,
    st.sampled_from(["", " ", " key:", "\x00", ":"]),
    any_text,
).map("".join)
any_list = st.dictionaries(
    st.sampled_from(
        [
            *parameters.PARAMETERS, "created_from", "until", "from", "range", "steps", "back", "name", "kind", "p", "o",
            "x",
        ]
    ),
    any_text,
    max_size=3,
)  # fmt: skip


def encoded(values):
    return "&".join(f"{name}={quote(text, safe='', errors='surrogatepass')}" for name, text in values.items())


def read(response):
    """The status, after a streamed response was read to its end."""
    if response.streaming:
        list(response.streaming_content)
    return response.status_code


def test_any_search_in_the_task_list(admin):
    @few_examples
    @given(any_search)
    def request(text):
        assert read(admin.get(f"{TASKS}?{encoded({'q': text})}")) < 500

    request()


PAGES = [
    TASKS, f"{TASKS}export/csv/", f"{TASKS}export/jsonl/", "/admin/taskqueue/bulkoperation/new/retry/",
    "/admin/taskqueue/bulkoperation/new/cancel/", "/admin/taskqueue/bulkoperation/new/rerun/", "/admin/",
    f"{PIPELINE}submit/", "/admin/taskqueue/event/send/",
]  # fmt: skip


def test_any_values_in_the_url(admin):
    @settings(hold, max_examples=examples(200))
    @given(st.sampled_from(PAGES), any_list)
    def request(url, values):
        assert read(admin.get(f"{url}?{encoded(values)}", follow=True)) < 500

    request()


@pytest.mark.parametrize("verb", ["retry", "cancel", "rerun"])
def test_any_text_in_the_bulk_operation_form(admin, verb):
    @hold
    @given(
        any_list,
        st.fixed_dictionaries({}, optional=dict.fromkeys(("reason", "confirmation"), any_text)),
    )
    def send(values, fields):
        url = f"/admin/taskqueue/bulkoperation/new/{verb}/?{encoded(values)}"
        assert admin.post(url, encoded(fields), content_type=FORM, follow=True).status_code < 500

    send()
    for operation in BulkOperation.objects.all():
        assert admin.get(f"/admin/taskqueue/bulkoperation/{operation.pk}/change/").status_code == 200


JSON = st.sampled_from(
    [
        "", "{", "null", "[]", "{}", '"text"', "1e999", "NaN", "-Infinity", '{"a":1,"a":2}', "[" * 5000, "9" * 5000,
        '"\\u0000"', '"\\ud800"', '{"\\u0000": 1}', '{"label": "\\ud800", "delay_seconds": 0}', "1" + "0" * 400,
        '{"label": "x", "delay_seconds": 1e400}', '{"label": "x", "delay_seconds": "nan"}', "\ufeff{}",
    ]
)  # fmt: skip
any_value = any_text | JSON


def posts(admin, url, names):
    names = sorted(names)

    @few_examples
    @given(st.dictionaries(st.sampled_from(names), any_value, max_size=len(names)))
    def send(fields):
        assert admin.post(url, encoded(fields), content_type=FORM, follow=True).status_code < 500

    send()


def fields_of(response):
    """The names of all fields of a page's forms."""
    return set(re.findall(r'name="([^"]+)"', response.content.decode())) - {"csrfmiddlewaretoken", "viewport"}


@pytest.mark.parametrize("url", [f"{PIPELINE}submit/", "/admin/taskqueue/event/send/"])
def test_any_text_in_a_form(admin, url):
    posts(admin, url, fields_of(admin.get(url)) | {"payload", "data", "x"})
    assert admin.get("/admin/taskqueue/event/").status_code == 200
    for event in Event.objects.all()[:20]:
        assert admin.get(f"/admin/taskqueue/event/{event.pk}/change/").status_code == 200


def test_any_text_in_the_rerun_form(admin, failed):
    url = f"{TASKS}{failed.pk}/edit/"
    posts(admin, url, fields_of(admin.get(url)) | {"payload", "x"})


@pytest.mark.parametrize("action", ["limits", "throttle"])
def test_any_text_in_the_limit_forms(admin, action):
    posts(
        admin,
        f"{PIPELINE}{action}/",
        {"tasks", "tasks_per_key", "steps", "steps_per_key", "count", "per", "burst", "x"},
    )


def test_any_text_in_the_rate_limit_forms(admin):
    rate = RateLimit.objects.create(
        name="hostile", count=1, per="0:01:00", burst=1, declared_count=1, declared_per="0:01:00", declared_burst=1
    )
    for action in ("block", "unblock"):
        url = f"/admin/taskqueue/ratelimit/{rate.pk}/{action}/"
        posts(admin, url, {"block-delay", "block-reason", "block-key", "key", "x"})


ENDINGS = [
    "task/{}/edit/", "task/{}/download/payload/", "task/{}/step/", "pipeline/{}/submit/", "pipeline/{}/limits/",
    "pipeline/{}/throttle/", "bulkoperation/{}/abort/", "bulkoperation/new/{}/", "ratelimit/{}/block/",
    "ratelimit/{}/unblock/",
    "schedule/{}/run/", "worker/{}/drain/", "worker/{}/resume/", "task/export/{}/",
]  # fmt: skip


def test_any_text_as_an_id_in_other_urls(admin, failed):
    @settings(hold, max_examples=examples(160))
    @given(st.sampled_from(ENDINGS), any_text)
    def request(ending, part):
        url = "/admin/taskqueue/" + ending.format(quote(part, safe="", errors="surrogatepass"))
        assert admin.get(url, follow=True).status_code < 500
        assert admin.post(url, "", content_type=FORM, follow=True).status_code < 500

    request()


def test_any_parameter_of_a_task_page(admin, failed):
    @settings(hold, max_examples=examples(200))
    @given(st.sampled_from(["step", "what", "key", "try", "of", "tab", "page", "all", "only", "open"]), any_text)
    def request(name, text):
        assert admin.get(f"{TASKS}{failed.pk}/change/?{encoded({name: text})}", follow=True).status_code < 500

    request()
