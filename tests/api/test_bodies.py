"""Malformed bodies and values that cannot be stored are refused with the reason."""

from __future__ import annotations

import gzip
import json
from decimal import Decimal
from io import BytesIO

import pytest

from taskqueue.api.json_parser import StrictJsonParser
from taskqueue.models import Task
from tests.support.api import problem_of


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"{", "line 1, column 2"),
        (b"{'pipeline': 1}", "line 1, column 2"),
        (b'{"a": NaN}', "NaN is not a JSON number"),
        (b'{"a": -Infinity}', "-Infinity is not a JSON number"),
        (b'{"a": 1e999}', "too large"),
        (b'{"a": ' + b"9" * 5000 + b"}", "too many digits"),
        (b'{"a": 1, "a": 2}', "“a” occurs twice"),
        (b'{"a": "\xff"}', "not UTF-8"),
        (b'\xef\xbb\xbf{"a": 1}', "BOM"),
        (b"[" * 101 + b"]" * 101, "nested"),
        (b'{"a":' * 100_000, "nested"),
        (b"{} {}", "Extra data"),
    ],
    ids=lambda value: repr(value)[:24],
)
def test_a_body_that_is_not_json_is_refused_with_the_reason(api, raw, reason):
    response = api.post("/api/tasks", raw=raw)

    assert problem_of(response) == (400, "malformed-body", [])
    assert reason in response.json()["detail"]


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"payload": {"value": ["fine", "\x00"]}}, "/payload/value/1"),
        ({"payload": {"value": "\ud800"}}, "/payload/value"),
        ({"payload": {"value": {"\udfff": 1}}}, "/payload/value"),
        ({"key": "a\x00b"}, "/key"),
        ({"labels": {"tenant": "\udc00"}}, "/labels/tenant"),
        ({"labels": {"\x00": "a"}}, "/labels"),
        ({"pipeline": "any\x00thing"}, "/pipeline"),
    ],
)
def test_text_that_postgresql_cannot_store_has_a_pointer(api, change, pointer):
    response = api.post("/api/tasks", {"pipeline": "anything", "payload": {"value": 1}, **change})

    assert problem_of(response) == (422, "not-serializable", [pointer])
    assert not Task.objects.exists()


def test_an_escaped_backslash_before_u0000_is_text(api):
    value = "\\u0000 \\ud800"

    assert api.post("/api/tasks", {"pipeline": "anything", "payload": {"value": value}}).status_code == 202
    assert Task.objects.get().payload == {"value": value}


@pytest.mark.parametrize("value", [0.1, 1e300, -1e-300, 2**70, 10**4000, 1e22, 0.1 + 0.2, [[]] * 50_000])
def test_numbers_and_many_values_come_back_exactly(api, value):
    raw = json.dumps({"pipeline": "anything", "payload": {"value": value}}).encode()

    address = api.post("/api/tasks", raw=raw)["Location"]

    kept = json.loads(api.get(address).content, parse_float=Decimal)["payload"]
    assert kept == json.loads(raw, parse_float=Decimal)["payload"]


def test_payloads_may_be_nested_as_deeply_as_bodies(api):
    value: list[object] = []
    for _ in range(96):
        value = [value]

    response = api.post("/api/tasks", {"pipeline": "anything", "payload": {"value": value}})

    assert api.get(response["Location"]).json()["payload"]["value"] == value


def test_a_body_over_its_limit_is_refused(api, settings):
    settings.TASKQUEUE = {"PAYLOAD_MAX_BYTES": 10}

    response = api.post("/api/tasks", raw=b" " * 100_000)

    assert problem_of(response) == (413, "too-large", [])


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", "application/xml", ""])
def test_another_media_type_is_refused(api, media_type):
    response = api.client.post("/api/tasks", b'{"pipeline": "anything"}', content_type=media_type)

    assert problem_of(response) == (415, "unsupported-media-type", [])


@pytest.mark.parametrize("encoding", ["gzip", "GZIP, br", "deflate"])
def test_a_compressed_body_is_refused_with_a_hint(api, encoding):
    raw = gzip.compress(b'{"pipeline": "anything", "payload": {}}')
    headers = {"Content-Encoding": encoding}

    response = api.post("/api/tasks", raw=raw, **headers)

    assert problem_of(response) == (415, "unsupported-encoding", [])
    assert f"Content-Encoding {encoding}" in response.json()["detail"]
    assert "Send it uncompressed" in response.json()["detail"]
    assert response["Accept-Encoding"] == "identity"


def test_a_body_with_identity_encoding_is_read(api):
    headers = {"Content-Encoding": "identity"}

    assert api.post("/api/tasks", {"pipeline": "anything", "payload": {"value": 1}}, **headers).status_code == 202


def test_a_list_is_refused_with_the_address_for_batches(api):
    task = {"pipeline": "anything", "payload": {"value": 1}}

    response = api.post("/api/tasks", [task, task])

    assert problem_of(response) == (422, "invalid-body", [""])
    assert 'Did you mean POST /api/tasks/batch {"tasks": [...]}?' in response.json()["detail"]
    assert not Task.objects.exists()


@pytest.mark.parametrize("verb", ["retry", "run-now", "cancel", "rerun"])
def test_actions_refuse_unknown_options(api, failed, verb):
    response = api.post(f"/api/tasks/{failed.pk}/{verb}", {"priority": 5})

    assert problem_of(response) == (422, "invalid-body", ["/priority"])


@pytest.mark.parametrize("accept", ["text/html", "application/xml, text/*;q=0.5"])
def test_a_caller_that_does_not_accept_json_gets_406(api, accept):
    response = api.client.get("/api/tasks", headers={"Accept": accept})

    assert problem_of(response) == (406, "not-acceptable", [])


@pytest.mark.parametrize("accept", ["application/json", "application/problem+json", "text/html, */*;q=0.1", "*/*"])
def test_a_caller_that_accepts_json_gets_json(api, accept):
    response = api.client.get("/api/tasks", headers={"Accept": accept})

    assert (response.status_code, response["Content-Type"]) == (200, "application/json")


def test_a_chunked_body_without_a_marked_end_is_refused(api, failed):
    response = api.client.generic(
        "POST", f"/api/tasks/{failed.pk}/retry", b"", "application/json", headers={"Transfer-Encoding": "chunked"}
    )

    assert problem_of(response) == (400, "malformed-request", [])
    assert Task.objects.get(pk=failed.pk).status == "failed"


class Chunks(BytesIO):
    """A body that arrives in small chunks."""

    def read(self, size: int | None = -1) -> bytes:
        return super().read(min(size or 0, 7_000))


class CutOff(BytesIO):
    """A body whose sender disconnected."""

    def read(self, size: int | None = -1) -> bytes:
        raise ConnectionResetError


def post_chunked(api, path: str, body: BytesIO):
    how = {"wsgi.input": body, "wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"}
    how["CONTENT_TYPE"] = "application/json"
    return api.client.generic("POST", path, b"", **how)


def test_a_chunked_body_is_read(api):
    body = {"pipeline": "shop/order", "payload": {"number": "1"}, "labels": {"filler": "x" * 200}}
    response = post_chunked(api, "/api/tasks", Chunks(b" " * 100_000 + json.dumps(body).encode()))

    assert response.status_code == 202, response.content
    assert Task.objects.get().labels == body["labels"]


def test_a_chunked_body_is_read_up_to_the_limit(api):
    endless = Chunks(b" " * 20_000_000)

    assert problem_of(post_chunked(api, "/api/tasks", endless)) == (413, "too-large", [])
    assert endless.tell() == StrictJsonParser().limit() + 1


def test_a_chunked_body_that_is_cut_off_is_refused(api):
    assert problem_of(post_chunked(api, "/api/tasks", CutOff())) == (400, "malformed-request", [])


def test_the_body_of_an_unauthorised_caller_is_not_read(anonymous):
    unread = Chunks(b"{}")

    assert post_chunked(anonymous, "/api/tasks", unread).status_code == 401
    assert unread.tell() == 0
