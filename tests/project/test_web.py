"""A web process loads at its start what its first request needs."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.support.processes.processes import ROOT

LOADED = """
import sys
{start}
from django.db import connection
from django.test import RequestFactory
assert "taskqueue.urls" in sys.modules
assert connection.connection is None
before = set(sys.modules)
from django.core.handlers.wsgi import WSGIHandler
for method in ("get", "post"):
    request = getattr(RequestFactory(), method)("/api/tasks", REMOTE_ADDR="192.0.2.1")
    response = WSGIHandler().get_response(request)
    assert response.status_code == 401, response.content
print(*sorted(name for name in set(sys.modules) - before if name.startswith(("taskqueue", "demo", "rest_framework"))))
"""


@pytest.mark.parametrize("module", ["wsgi", "asgi"])
def test_the_first_request_imports_nothing(module):
    script = LOADED.format(start=f"import demo.{module}")
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "demo.settings",
        "DEBUG": "true",
        "ALLOWED_HOSTS": "testserver",
    }

    found = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=250
    )

    assert (found.returncode, found.stdout.strip()) == (0, ""), found.stderr
