"""Whatever is typed into the forms, searches and addresses of the admin's own pages, none is a server error."""

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
hard = settings(hold, max_examples=examples(25))

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
    """The status; a file is read to its end, for it is only made on the way."""
    if response.streaming:
        list(response.streaming_content)
    return response.status_code


def test_any_search_of_the_tasks(admin):
    @hard
    @given(any_search)
    def ask(text):
        assert read(admin.get(f"{TASKS}?{encoded({'q': text})}")) < 500

    ask()


PAGES = [
    TASKS, f"{TASKS}export/csv/", f"{TASKS}export/jsonl/", "/admin/taskqueue/bulkoperation/new/retry/",
    "/admin/taskqueue/bulkoperation/new/cancel/", "/admin/taskqueue/bulkoperation/new/rerun/", "/admin/",
    f"{PIPELINE}submit/", "/admin/taskqueue/event/send/",
]  # fmt: skip


def test_any_values_in_the_address(admin):
    @settings(hold, max_examples=examples(200))
    @given(st.sampled_from(PAGES), any_list)
    def ask(way, values):
        assert read(admin.get(f"{way}?{encoded(values)}", follow=True)) < 500

    ask()


@pytest.mark.parametrize("verb", ["retry", "cancel", "rerun"])
def test_anything_in_the_form_that_starts_an_operation(admin, verb):
    @hold
    @given(
        any_list,
        st.fixed_dictionaries({}, optional=dict.fromkeys(("reason", "confirmation"), any_text)),
    )
    def send(values, fields):
        way = f"/admin/taskqueue/bulkoperation/new/{verb}/?{encoded(values)}"
        assert admin.post(way, encoded(fields), content_type=FORM, follow=True).status_code < 500

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


def posts(admin, way, names):
    names = sorted(names)

    @hard
    @given(st.dictionaries(st.sampled_from(names), any_value, max_size=len(names)))
    def send(fields):
        assert admin.post(way, encoded(fields), content_type=FORM, follow=True).status_code < 500

    send()


def fields_of(response):
    """The names of all fields of a page's forms."""
    return set(re.findall(r'name="([^"]+)"', response.content.decode())) - {"csrfmiddlewaretoken", "viewport"}


@pytest.mark.parametrize("way", [f"{PIPELINE}submit/", "/admin/taskqueue/event/send/"])
def test_anything_in_a_form(admin, way):
    posts(admin, way, fields_of(admin.get(way)) | {"payload", "data", "x"})
    assert admin.get("/admin/taskqueue/event/").status_code == 200
    for event in Event.objects.all()[:20]:
        assert admin.get(f"/admin/taskqueue/event/{event.pk}/change/").status_code == 200


def test_anything_in_the_form_of_a_rerun(admin, failed):
    way = f"{TASKS}{failed.pk}/edit/"
    posts(admin, way, fields_of(admin.get(way)) | {"payload", "x"})


@pytest.mark.parametrize("noun", ["places", "starts"])
def test_anything_in_the_forms_of_limits(admin, noun):
    posts(
        admin, f"{PIPELINE}{noun}/", {"tasks", "tasks_per_key", "steps", "steps_per_key", "count", "per", "burst", "x"}
    )


def test_anything_in_the_form_of_a_hold(admin):
    rate = RateLimit.objects.create(
        name="hostile", count=1, per="0:01:00", burst=1, declared_count=1, declared_per="0:01:00", declared_burst=1
    )
    for noun in ("hold", "lift"):
        way = f"/admin/taskqueue/ratelimit/{rate.pk}/{noun}/"
        posts(admin, way, {"hold-delay", "hold-reason", "hold-key", "key", "x"})


ENDINGS = [
    "task/{}/edit/", "task/{}/download/payload/", "task/{}/step/", "pipeline/{}/submit/", "pipeline/{}/places/",
    "pipeline/{}/starts/", "bulkoperation/{}/abort/", "bulkoperation/new/{}/", "ratelimit/{}/hold/",
    "ratelimit/{}/lift/",
    "schedule/{}/run/", "worker/{}/drain/", "worker/{}/resume/", "task/export/{}/",
]  # fmt: skip


def test_anything_in_the_place_of_a_row_of_the_other_addresses(admin, failed):
    @settings(hold, max_examples=examples(160))
    @given(st.sampled_from(ENDINGS), any_text)
    def ask(ending, part):
        way = "/admin/taskqueue/" + ending.format(quote(part, safe="", errors="surrogatepass"))
        assert admin.get(way, follow=True).status_code < 500
        assert admin.post(way, "", content_type=FORM, follow=True).status_code < 500

    ask()


def test_anything_in_the_address_of_a_task(admin, failed):
    @settings(hold, max_examples=examples(200))
    @given(st.sampled_from(["step", "what", "key", "try", "of", "tab", "page", "all", "only", "open"]), any_text)
    def ask(name, text):
        assert admin.get(f"{TASKS}{failed.pk}/change/?{encoded({name: text})}", follow=True).status_code < 500

    ask()
