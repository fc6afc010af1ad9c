"""Whatever the schema allows, and much that it does not, is answered as the schema says; nothing is a server error."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import cycle
from typing import Any

import pytest
import schemathesis
from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from demo.wsgi import application
from tests.support.openapi import committed
from tests.support.properties import examples

pytestmark = pytest.mark.property

AGREED = [status_code_conformance, content_type_conformance, response_schema_conformance]


def service(environ: dict[str, Any], start_response: Any) -> Any:
    """The web service, called from this machine."""
    return application({**environ, "REMOTE_ADDR": "127.0.0.1"}, start_response)


@pytest.fixture
def _one_connection() -> Iterator[None]:
    """Keep the test's connection, with its transaction, from being closed between requests."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@cache
def loaded() -> Any:
    """The served schema, loaded once: it depends only on the code."""
    return schemathesis.openapi.from_wsgi("/api/schema", service)


@pytest.fixture
def contract(_one_connection: None, db: None, settings: Any) -> Any:
    settings.DEBUG = True
    settings.ALLOWED_HOSTS = ["localhost"]
    return loaded()


@pytest.fixture
def ids(queued: Any, failed: Any, succeeded: Any) -> Any:
    """Ids of tasks that exist, in turn, and now and then none of them."""
    return cycle([None, queued.pk, succeeded.pk, failed.pk])


@pytest.fixture
def ended_ids(failed: Any, succeeded: Any) -> Any:
    """Ids of ended tasks, for which `wait` returns at once."""
    return cycle([None, succeeded.pk, failed.pk])


OPERATIONS = [
    (path, method, mode)
    for path, operations in committed()["paths"].items()
    for method, operation in operations.items()
    for mode in GenerationMode
    if mode is GenerationMode.POSITIVE or "parameters" in operation or "requestBody" in operation
]


@pytest.mark.parametrize(("path", "method", "mode"), OPERATIONS)
def test_every_answer_matches_the_schema(contract, ids, ended_ids, path, method, mode):
    operation = contract[path][method.upper()]
    existing = ended_ids if path.endswith("/status") else ids

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(max_examples=examples(40), derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
    def hold(case: schemathesis.Case[Any]) -> None:
        if "task_id" in case.path_parameters and (task_id := next(existing)) is not None:
            case.path_parameters["task_id"] = str(task_id)
        # Not to be ready, or to be under WSGI, is what these are for; any other 5xx they do not know either.
        checks = AGREED if path.endswith(("/ready", "/stream")) else [not_a_server_error, *AGREED]
        case.call_and_validate(checks=checks)

    hold()
