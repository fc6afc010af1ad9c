"""Any input is accepted or refused with a pointer, and never a server error."""

from __future__ import annotations

import json
from decimal import Decimal
from urllib.parse import quote, quote_from_bytes
from uuid import UUID

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support.api import problem_of
from tests.support.properties import examples, quick_settings

pytestmark = pytest.mark.property

hold = quick_settings(60)

any_text = st.text(st.characters(), max_size=40) | st.sampled_from(
    [
        "",
        " ",
        "\x00",
        "a\x00b",
        "\ud800",
        "\udfff\ud800",
        "𝄞" * 300,
        "a" * 201,
        "/",
        "..",
        "%00",
        "\u202e",
        "'; --",
        "{}",
    ]
)
any_number = (
    st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([2**31, 2**63, -(2**63) - 1, 10**300, 10**4000, 1e308, -0.0, 5e-324])
)
any_json = st.recursive(
    st.none() | st.booleans() | any_number | any_text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(any_text, inner, max_size=4),
    max_leaves=12,
)
any_moment = st.sampled_from(
    [
        "0000-00-00T00:00:00Z", "9999-12-31T23:59:59+00:01", "0001-01-01T00:00:00+14:00", "294277-01-01T00:00:00Z",
        "2030-02-30T00:00:00Z", "2030-01-01T24:00:00Z", "2030-01-01T00:00:60Z", "2030-01-01T00:00:00+99:99",
        "2030-01-01", "infinity", "now", "२०३०-01-01T00:00:00Z", "2030-01-01T00:00:00.123456789012Z",
    ]
)  # fmt: skip

SUBMISSION = {"pipeline": "anything", "payload": {"value": 1}}
BODIES = ["/api/tasks", "/api/events", "/api/pipelines/anything/pause", f"/api/tasks/{UUID(int=1)}/cancel"]


def look(response):
    """The answer is a success, or a problem with pointers into the request."""
    assert response.status_code < 500, response.content
    if response.status_code >= 400:
        status, code, pointers = problem_of(response)
        assert all(pointer == "" or pointer.startswith("/") for pointer in pointers)
        if status == 422 and code in {"invalid-body", "invalid-payload", "not-serializable", "invalid-options"}:
            assert pointers
    return response


def exactly(text):
    """JSON with its numbers as they are written: 1e300 may come back as a one and three hundred zeros."""
    return json.loads(text, parse_float=Decimal, parse_int=Decimal)


@pytest.mark.parametrize("path", BODIES)
def test_any_json_as_a_body(api, path):
    @hold
    @given(any_json)
    def send(value):
        look(api.post(path, value if value is not None else [None]))

    send()


@pytest.mark.parametrize("path", BODIES)
def test_any_bytes_as_a_body(api, path):
    @hold
    @given(st.binary(max_size=60))
    @example(b"\xff\xfe{\x00}\x00")
    @example(b'"\xed\xa0\x80"')
    @example(b"[" * 5000)
    @example(b'{"a":' * 5000)
    @example(b"-")
    @example(b"1e" + b"9" * 40)
    def send(raw):
        look(api.post(path, raw=raw))

    send()


@pytest.mark.parametrize("field", ["pipeline", "payload", "key", "force", "priority", "run_at", "labels", "unknown"])
def test_any_json_in_any_field_of_a_submission(api, field):
    @hold
    @given(any_json | any_moment)
    def send(value):
        look(api.post("/api/tasks", {**SUBMISSION, field: value}))

    send()


def test_any_payload_is_returned_unchanged_or_refused(api):
    @settings(hold, max_examples=examples(150))
    @given(any_json)
    def send(value):
        response = look(api.post("/api/tasks", {"pipeline": "anything", "payload": {"value": value}}))
        if response.status_code == 202:
            kept = exactly(look(api.get(response["Location"])).content)["payload"]["value"]
            assert kept == exactly(json.dumps(value))
        else:
            assert all(pointer.startswith("/payload/value") for pointer in problem_of(response)[2])

    send()


def test_any_text_as_a_label(api):
    @hold
    @given(st.dictionaries(any_text, any_text, max_size=3))
    def send(labels):
        response = look(api.post("/api/tasks", {**SUBMISSION, "labels": labels}))
        if response.status_code == 202:
            assert api.get(response["Location"]).json()["labels"] == labels

    send()


@pytest.mark.parametrize("field", ["name", "data", "id", "unknown"])
def test_any_json_in_any_field_of_an_event(api, field):
    @hold
    @given(any_json)
    def send(value):
        look(api.post("/api/events", {"name": "fuzz/event", "data": {}, field: value}))

    send()


def test_event_data_is_returned_unchanged(api):
    @hold
    @given(st.dictionaries(any_text, any_json, max_size=4))
    def send(data):
        response = look(api.post("/api/events", {"name": "fuzz/event", "data": data}))
        if response.status_code == 202:
            assert exactly(look(api.get(response["Location"])).content)["data"] == exactly(json.dumps(data))

    send()


def test_any_text_as_a_reason_and_a_step(api, failed):
    @hold
    @given(any_json)
    def send(value):
        look(api.post(f"/api/tasks/{failed.pk}/retry", {"from_step": value}))
        look(api.post(f"/api/tasks/{failed.pk}/cancel", {"reason": value}))
        look(api.post("/api/pipelines/anything/pause", {"reason": value}))
        look(api.post("/api/pipelines/anything/resume"))

    send()


def test_a_batch_of_anything(api):
    @hold
    @given(st.lists(any_json | st.just(SUBMISSION), max_size=3) | any_json)
    def send(tasks):
        look(api.post("/api/tasks/batch", {"tasks": tasks}))

    send()


QUERIES = {
    "/api/tasks": [
        "pipeline", "status", "label", "key", "created_after", "created_before", "cursor", "limit", "unknown",
    ],
    "/api/events": ["name", "received_after", "received_before", "cursor", "limit"],
    "/api/health/ready": ["workers"],
    "/api/pipelines": ["limit"],
}  # fmt: skip


def settings_for(path: str) -> settings:
    """Fewer where each answer is of every pipeline of all test modules."""
    return settings(hold, max_examples=examples(15)) if path == "/api/pipelines" else hold


@pytest.mark.parametrize(("path", "name"), [(path, name) for path, names in QUERIES.items() for name in names])
def test_any_text_in_any_query_parameter(api, path, name):
    @settings_for(path)
    @given(any_text | any_moment | any_number.map(lambda number: repr(number)[:400]) | st.just("tenant:\ud800"))
    def ask(text):
        value = quote(text, safe="", errors="surrogatepass")
        response = api.client.get(f"{path}?{name}={value}")
        if not path.endswith("/ready") or response.status_code != 503:
            look(response)

    ask()


@pytest.mark.parametrize("path", QUERIES)
def test_any_query_string(api, path):
    @settings_for(path)
    @given(st.binary(max_size=40).map(quote_from_bytes) | st.text(st.characters(codec="ascii"), max_size=40))
    @example("&" * 2000)
    @example("&".join(f"a{number}=1" for number in range(2000)))
    def ask(query):
        response = api.client.get(path, QUERY_STRING=query)
        if not path.endswith("/ready") or response.status_code != 503:
            look(response)

    ask()


@pytest.mark.parametrize(
    "address",
    ["/api/tasks/{}", "/api/tasks/{}/status", "/api/tasks/{}/why", "/api/events/{}", "/api/pipelines/{}"],
)
def test_anything_in_a_path(api, address):
    @hold
    @given(any_text | st.binary(max_size=20))
    def ask(part):
        raw = part if isinstance(part, bytes) else part.encode(errors="surrogatepass")
        response = api.client.get(address.format(quote_from_bytes(raw, safe="")))
        assert response.status_code < 500

    ask()


@pytest.mark.parametrize("verb", ["retry", "run-now", "cancel", "rerun"])
def test_anything_in_the_path_of_an_action(api, verb):
    @hold
    @given(any_text)
    def ask(part):
        raw = quote(part, safe="", errors="surrogatepass")
        assert api.client.post(f"/api/tasks/{raw}/{verb}", content_type="application/json").status_code < 500

    ask()


HEADERS = [
    "Idempotency-Key", "Accept", "Content-Type", "Authorization", "X-Request-ID", "Content-Encoding", "Accept-Language",
    "Cookie", "X-Forwarded-For", "X-Forwarded-Proto", "Origin", "Referer", "traceparent", "If-None-Match", "Range",
]  # fmt: skip


@pytest.mark.parametrize("header", HEADERS)
def test_anything_in_a_header(api, header):
    """As a WSGI server gives it: bytes as Latin-1, of which it has refused line breaks and NUL."""

    @hold
    @given(st.text(st.characters(codec="latin-1", exclude_characters="\r\n\0"), max_size=40))
    @example("application/json; charset=utf-7")
    @example("application/json; boundary=\xff")
    @example("application/json; charset=\xe9")
    @example("application/json; charset=" + "x" * 5000)
    @example("Bearer \xff")
    @example("Basic " + "A" * 500)
    @example("bytes=0-")
    @example("00-" + "0" * 32 + "-" + "0" * 16 + "-01")
    def send(value):
        body = json.dumps(SUBMISSION).encode()
        name = header.upper().replace("-", "_")
        extra = {name if name == "CONTENT_TYPE" else f"HTTP_{name}": value}
        response = api.client.generic(
            "POST",
            "/api/tasks",
            body,
            **{"content_type": "application/json"} | ({"content_type": value} if name == "CONTENT_TYPE" else {}),
            **({} if name == "CONTENT_TYPE" else extra),
        )
        look(response)
        look(api.client.get("/api/tasks", **extra))

    send()


@pytest.mark.parametrize("length", ["", "-1", "abc", "1e3", "\xb2"])
def test_an_invalid_content_length(api, length):
    response = api.client.generic(
        "POST", "/api/tasks", json.dumps(SUBMISSION).encode(), "application/json", CONTENT_LENGTH=length
    )

    assert response.status_code < 500
