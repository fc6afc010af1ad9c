"""The OpenAPI schema and the pages that show it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.contrib.staticfiles import finders
from drf_spectacular.generators import SchemaGenerator

from taskqueue.api.openapi.schema import current_schema, schema_with
from taskqueue.api.problems import STATUSES, Kind
from taskqueue.definitions import INTERNAL, registry
from tests.support.openapi import committed, parsed

ROOT = Path(__file__).resolve().parents[2]
WRITE = [
    "manage.py", "spectacular", "--generator-class", "taskqueue.api.openapi.schema.OurSchema",
    "--custom-settings", "taskqueue.api.openapi.settings.SETTINGS",
]  # fmt: skip


@pytest.fixture
def schema(db) -> dict[str, Any]:
    schema_with.cache_clear()
    return current_schema()


def test_a_projects_own_schema_has_none_of_these_endpoints(db):
    assert SchemaGenerator().get_schema(request=None, public=True)["paths"] == {}


def test_the_committed_schema_is_current(tmp_path):
    written = tmp_path / "openapi.yaml"

    subprocess.run(
        [sys.executable, *WRITE, "--validate", "--fail-on-warn", "--file", written],
        cwd=ROOT,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "demo.settings"},
        check=True,
        timeout=200,
    )

    assert written.read_text() == (ROOT / "openapi.yaml").read_text(), "Write it again: make schema"


def test_the_served_schema_is_the_committed_one(api, schema):
    as_yaml = parsed(api.get("/api/schema").content)
    as_json = api.client.get("/api/schema", headers={"Accept": "application/json"}).json()

    assert as_yaml == as_json
    assert as_yaml["paths"].keys() == committed()["paths"].keys()
    assert as_yaml["info"] == committed()["info"]


def test_each_pipeline_has_its_own_request_schema(schema):
    union = schema["components"]["schemas"]["TaskSubmission"]
    request = schema["components"]["schemas"]["ShopOrderSubmission"]
    payload = schema["components"]["schemas"]["ShopOrderPayload"]

    assert set(union["discriminator"]["mapping"]) == set(registry.names()) - INTERNAL
    assert request["properties"]["pipeline"] == {"type": "string", "const": "shop/order"}
    assert request["properties"]["payload"] == {"$ref": "#/components/schemas/ShopOrderPayload"}
    assert payload["properties"]["address"]["anyOf"][0] == {"$ref": "#/components/schemas/ShopOrderAddress"}
    assert schema["components"]["schemas"]["ShopOrderAddress"]["required"] == ["street"]


def test_each_pipeline_has_an_example(schema):
    examples = schema["paths"]["/api/tasks"]["post"]["requestBody"]["content"]["application/json"]["examples"]

    assert examples["shop/order"]["value"]["payload"]["number"] == "A1"


def test_every_example_is_accepted(api, schema, settings):
    settings.TASKQUEUE = {"EXAMPLE_PIPELINE": "shop/order"}
    schema_with.cache_clear()
    paths = current_schema()["paths"]

    for path in ("/api/tasks", "/api/tasks/batch"):
        examples = paths[path]["post"]["requestBody"]["content"]["application/json"]["examples"]
        assert examples
        for example in examples.values():
            assert api.post(path, example["value"]).status_code == 202, example
    assert next(iter(paths["/api/tasks"]["post"]["requestBody"]["content"]["application/json"]["examples"])) == (
        "shop/order"
    )


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/api/tasks", "GET, POST"),
        ("/api/tasks/batch", "POST"),
        ("/api/tasks/0192d5a0-7c1e-7b3a-9f4e-2d6c8a1b5e90", "GET, PATCH"),
        ("/api/pipelines/shop/order/pause", "POST"),
        ("/api/pipelines/shop/order", "GET, PATCH"),
    ],
)
def test_allow_lists_the_methods_of_the_schema(api, path, allowed):
    assert api.client.options(path)["Allow"] == allowed


def test_every_reference_resolves(schema):
    components = schema["components"]["schemas"]

    references = re.findall(r"'\$ref': '#/components/schemas/([^']+)'", str(schema))

    assert references
    assert set(references) <= set(components)


def test_every_refusal_is_described_as_a_problem(schema):
    for path in schema["paths"].values():
        for operation in path.values():
            for status, response in operation["responses"].items():
                if int(status) >= 400:
                    assert list(response["content"]) == ["application/problem+json"]
                    assert int(status) in {*STATUSES.values(), *(kind.status for kind in Kind)}


def test_every_throttled_endpoint_documents_429(schema):
    operations = [operation for path in schema["paths"].values() for operation in path.values()]
    counted = {operation["operationId"] for operation in operations if "401" in operation["responses"]}

    assert {operation["operationId"] for operation in operations if "429" in operation["responses"]} == counted
    assert {operation["operationId"] for operation in operations} - counted == {"isLive", "isReady"}
    assert all("500" in operation["responses"] for operation in operations)


def test_every_operation_and_answer_is_described(schema):
    operations = [operation for path in schema["paths"].values() for operation in path.values()]

    assert all(operation["summary"] and operation["description"] for operation in operations)
    assert all(answer["description"] for operation in operations for answer in operation["responses"].values())
    assert len({operation["operationId"] for operation in operations}) == len(operations)


@pytest.mark.parametrize("page", ["docs", "redoc"])
def test_the_pages_load_nothing_from_other_servers(api, page):
    response = api.get(f"/api/{page}")

    places = re.findall(r'<(?!a )[^>]*?(?:src|href|spec-url|data-schema)="([^"]*)"', response.content.decode())
    assert response.status_code == 200
    assert "/api/schema" in places
    assert all(address.startswith("/") and not address.startswith("//") for address in places)
    assert "default-src 'self'" in response["Content-Security-Policy"]
    assert "http" not in response["Content-Security-Policy"]
    for address in places:
        assert address == "/api/schema" or finders.find(address.removeprefix("/static/"))
