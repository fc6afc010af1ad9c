"""The form that submits a task: made from the payload's schema, validated by the pipeline's model."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from django.contrib.admin.models import LogEntry
from pydantic import BaseModel, Field, RootModel

from demo.pipelines import demo_task
from taskqueue import pipeline
from taskqueue.admin.pipelines.submit_form import SubmitForm
from taskqueue.engine.access.actor import Actor
from taskqueue.engine.tasks import control
from taskqueue.forms.form_values import seconds_in
from taskqueue.forms.payload_schema import MISSING
from taskqueue.models import Pipeline, Task
from tests.support.admin_pages import messages_of, page_of, text_of
from tests.support.users import client_of

DEMO = "/admin/taskqueue/pipeline/demo_2Ftask/submit/"
ALL = "/admin/taskqueue/pipeline/forms_2Fall/submit/"
PLAIN = {"payload/label": "hello", "payload/delay_seconds": "0", "payload/fail_at_step": "simulate-api-call"}


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Address(BaseModel):
    """Where it goes."""

    street: str = Field(min_length=2)
    number: int | None = None


class Everything(BaseModel):
    name: Annotated[str, Field(pattern="^[a-z]+$")] = "abc"
    note: str = Field(default="", max_length=1000)
    count: Annotated[int, Field(gt=1, multiple_of=2, description="An even one.")]
    share: float = Field(default=0.5, ge=0, le=1)
    price: Decimal = Decimal("1.50")
    urgent: bool = True
    checked: bool | None = None
    colour: Colour = Colour.RED
    size: Literal[1, "large"] = 1
    day: date
    at: datetime
    clock: time | None = None
    lasts: timedelta
    tags: list[str] = Field(default=["new"], examples=[["a", "b"]])
    either: int | str = 3
    home: Address
    work: Address = Address(street="Main")
    other: Address | None = None


@pipeline("forms/all")
def all_kinds(request: Everything) -> dict[str, Any]:
    return request.model_dump(mode="json")


@pipeline("forms/parameters")
def by_parameters(first: int, second: str = "two") -> str:
    return f"{first} {second}"


class Numbers(RootModel[list[int]]):
    """Only numbers."""


@pipeline("forms/list")
def of_list(numbers: Numbers) -> int:
    return sum(numbers.root)


@pipeline("forms/nothing")
def of_nothing() -> None: ...


TYPED = {
    "payload/name": "abc", "payload/note": "", "payload/count": "4", "payload/share": "0.25", "payload/price": "2.10",
    "payload/checked": "no", "payload/colour": "blue", "payload/size": "large", "payload/day": "2030-01-31",
    "payload/at": "2030-01-31T08:00:00Z", "payload/clock": "", "payload/lasts": "1h 30m", "payload/tags": '["x"]',
    "payload/either": '"word"', "payload/home/street": "Elm", "payload/home/number": "",
    "payload/work/street": "Oak", "payload/work/number": "7", "payload/other": "",
}  # fmt: skip


@pytest.fixture
def submitter():
    return client_of("sam", "add_task", "view_task", "view_pipeline")


def form_of(task_pipeline: Any, data: dict[str, Any] | None = None) -> SubmitForm:
    payload = task_pipeline.definition.payload
    return SubmitForm(payload.json_schema(), payload.example(), data)  # type: ignore[arg-type]  # a dict will do


def payload_of(task_pipeline: Any, data: dict[str, Any]) -> Any:
    form = form_of(task_pipeline, data)
    assert form.is_valid(), form.errors
    return form.payload()


def test_the_form_needs_add_task(client, viewer, submitter):
    assert client.get(DEMO).url.startswith("/admin/login/")
    assert viewer.get(DEMO).status_code == 403
    assert viewer.post(DEMO, PLAIN).status_code == 403
    assert submitter.get(DEMO).status_code == 200
    assert not Task.objects.exists()


def test_the_form_shows_descriptions_bounds_and_example(submitter):
    response = submitter.get(DEMO)

    text = text_of(response)
    assert "A name for the task. At least 1 character, at most 100 characters." in text
    assert "How long simulate-delay takes. At least 0, at most 60." in text
    page = response.content.decode()
    assert 'name="payload/label" value="hello"' in page
    assert '<option value="simulate-api-call" selected>' in page
    assert 'name="payload/failures_before_success" value="1"' in page


def test_a_submitted_task_has_a_log_entry(submitter):
    response = submitter.post(DEMO, {**PLAIN, "priority": "5", "labels": "tenant = a\nshop=b", "key": "order-1"})

    task = Task.objects.get()
    assert response.url == page_of(task)
    assert task.payload["label"] == "hello"
    assert (task.priority, task.key, task.labels) == (5, "order-1", {"tenant": "a", "shop": "b"})
    entry = LogEntry.objects.get()
    assert (entry.object_id, entry.get_change_message(), entry.user.username) == (
        str(task.pk),
        "Submitted by form.",
        "sam",
    )


def test_an_error_is_shown_at_its_field_with_everything_typed(submitter):
    wrong = {**PLAIN, "payload/label": "", "payload/delay_seconds": "soon", "labels": "tenant = a"}

    response = submitter.post(DEMO, wrong)

    form = response.context["form"]
    assert form.errors == {
        "payload/label": ["String should have at least 1 character"],
        "payload/delay_seconds": ["Input should be a valid number, unable to parse string as a number"],
    }
    page = response.content.decode()
    assert 'name="payload/delay_seconds" value="soon"' in page
    assert "tenant = a" in page
    assert '<details id="options" class="tq-card tq-fold" open>' in page
    assert not Task.objects.exists()
    assert not LogEntry.objects.exists()


def test_a_used_key_leads_to_the_existing_task(submitter):
    submitter.post(DEMO, {**PLAIN, "key": "order-1"})

    response = submitter.post(DEMO, {**PLAIN, "key": "order-1"}, follow=True)

    assert messages_of(response)[-1] == "No new task was created: this task already exists."
    assert LogEntry.objects.count() == Task.objects.count() == 1
    submitter.post(DEMO, {**PLAIN, "key": "order-1", "force": "on"})
    assert Task.objects.count() == 2


@pytest.mark.parametrize(
    ("options", "field", "error"),
    [
        ({"priority": "high"}, "priority", "The priority is a whole number."),
        ({"priority": "601"}, "priority", "The priority is a number from -600 to 600."),
        ({"delay": "later"}, "delay", "Write seconds, or a length such as 15m or 2h 30m."),
        ({"run_at": "tomorrow"}, "run_at", "Write a time such as 2030-01-31 08:00."),
        ({"run_at": "2030-02-31 08:00"}, "run_at", "There is no such time: day is out of range for month."),
        ({"run_at": "2030-01-31 08:00", "delay": "5"}, "run_at", "Fill in either “Start in” or “Start at”, not both."),
        ({"labels": "tenant"}, "labels", "“tenant” is not of the form name = value."),
        ({"key": "k" * 201}, "key", "A key has at most 200 characters."),
    ],
)
def test_options_are_validated(submitter, options, field, error):
    response = submitter.post(DEMO, {**PLAIN, **options})

    assert response.context["form"].errors == {field: [error]}
    assert not Task.objects.exists()


def test_a_task_may_start_later(submitter):
    submitter.post(DEMO, {**PLAIN, "delay": "2h"})
    submitter.post(DEMO, {**PLAIN, "run_at": "2090-01-31 08:00"})

    soon, late = Task.objects.order_by("pk")
    assert soon.status == late.status == "scheduled"
    assert timedelta(minutes=119) < soon.due_at - soon.created_at <= timedelta(hours=2)
    assert late.due_at == datetime(2090, 1, 31, 8, tzinfo=UTC)


def test_every_kind_of_value_is_converted_for_the_model(submitter):
    response = submitter.post(ALL, TYPED)

    assert response.status_code == 302, response.context["form"].errors
    assert Task.objects.get().payload == {
        "name": "abc", "note": "", "count": 4, "share": 0.25, "price": "2.10", "urgent": False, "checked": False,
        "colour": "blue", "size": "large", "day": "2030-01-31", "at": "2030-01-31T08:00:00Z", "clock": None,
        "lasts": "PT1H30M", "tags": ["x"], "either": "word", "home": {"street": "Elm", "number": None},
        "work": {"street": "Oak", "number": 7}, "other": None,
    }  # fmt: skip


def test_initial_values_are_examples_and_defaults():
    form = form_of(all_kinds)

    assert {name: form[name].value() for name in ("payload/name", "payload/share", "payload/price")} == {
        "payload/name": "abc",
        "payload/share": "0.5",
        "payload/price": "1.50",
    }
    assert form["payload/urgent"].value() is True
    assert form["payload/tags"].value() == '[\n  "a",\n  "b"\n]'
    assert form["payload/work/street"].value() == "Main"
    assert [section.title for section in form.sections()] == ["", "Home", "Work"]


def test_nested_errors_are_shown_at_the_field_that_contains_them(submitter):
    wrong = {
        **TYPED, "payload/count": "3", "payload/home/street": "E", "payload/tags": '["x", 1]', "payload/either": "{",
    }  # fmt: skip

    errors = submitter.post(ALL, wrong).context["form"].errors
    assert errors["payload/either"][0].startswith("This is not JSON: Expecting property name")

    errors = submitter.post(ALL, {**wrong, "payload/either": "1"}).context["form"].errors
    assert errors == {
        "payload/count": ["Input should be a multiple of 2"],
        "payload/home/street": ["String should have at least 2 characters"],
        "payload/tags": ["1: Input should be a valid string"],
    }


@pytest.mark.parametrize("levels", [101, 5_000])
def test_json_nested_too_deeply_is_refused_at_its_field(submitter, levels):
    for text in ('{"a":' * levels + "1" + "}" * levels, "[" * levels + "]" * levels):
        errors = submitter.post(ALL, {**TYPED, "payload/either": text}).context["form"].errors

        assert errors["payload/either"] == ["This is nested too deeply: more than 100 levels."]


def test_parameters_lists_and_empty_payloads_have_forms():
    assert payload_of(by_parameters, {"payload/first": "1", "payload/second": ""}) == {"first": 1, "second": ""}
    assert payload_of(by_parameters, {"payload/first": ""}) == {"second": ""}
    assert payload_of(of_list, {"payload": "[1, 2]"}) == [1, 2]
    assert payload_of(of_list, {"payload": ""}) is MISSING
    assert payload_of(of_nothing, {}) == {}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("1.5s", 1.5), ("15m", 900), ("2h 30m", 9000), ("1d", 86400), ("1d2h3m4s", 93784)],
)
def test_durations_are_parsed(text, seconds):
    assert seconds_in(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-5", "1x", "h"])
def test_invalid_durations_are_refused(text):
    assert seconds_in(text) is None


@pytest.fixture
def odd_schema() -> dict[str, Any]:
    """A schema that no tool writes."""
    return {
        "type": "object",
        "properties": {
            "<b>bold</b>": {"type": "string", "description": "<script>alert(1)</script>"},
            "a/b~c": {"type": "integer"},
            "loop": {"$ref": "#/$defs/Loop"},
            "gone": {"$ref": "#/$defs/Gone"},
        },
        "$defs": {"Loop": {"$ref": "#/$defs/Loop"}},
    }


def test_an_odd_schema_is_harmless(odd_schema):
    form = SubmitForm(odd_schema, None, {"payload/a~1b~0c": "5", "payload/loop": "{}"})  # type: ignore[arg-type]

    assert form.is_valid()
    assert form.payload()["a/b~c"] == 5
    assert "<script>" not in str(form)


def test_a_pipeline_without_code_cannot_be_submitted(submitter, pipeline_without_code):
    response = submitter.get("/admin/taskqueue/pipeline/gone_2Faway/submit/", follow=True)

    assert "No pipeline is called 'gone/away'" in messages_of(response)[0]


def test_the_form_says_when_the_pipeline_is_paused(submitter, queued):
    control.pause_pipeline("demo/task", reason="deploy", actor=Actor(None, "dana"))

    assert "The pipeline is paused by dana: deploy." in text_of(submitter.get(DEMO))
    assert Pipeline.objects.get(pk="demo/task").paused_by == "dana"
    assert demo_task.definition.name == "demo/task"
