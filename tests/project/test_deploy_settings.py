"""The shipped settings as a deployment reads them: nothing open, nothing known to everybody."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from django.test import Client

from demo.content_security_policy import HEADER, POLICY
from tests.support.processes.processes import ROOT

OURS = {"DATABASE_URL", "DEBUG", "SECRET_KEY", "HTTPS", "BEHIND_PROXY", "HSTS_SECONDS", "HSTS_WHOLE_DOMAIN"}
KEY = "a-key-of-fifty-characters-or-more-that-only-this-test-knows"
DEPLOYED = {
    "DATABASE_URL": "postgres://missing@127.0.0.1:1/none",
    "SECRET_KEY": KEY,
    "ALLOWED_HOSTS": "tasks.example.com",
}
SETTINGS = """
import json
from django.conf import settings
names = {names}
print(json.dumps({{name: getattr(settings, name) for name in names}}))
"""


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python with these settings and no others."""
    kept = {name: value for name, value in os.environ.items() if name not in OURS}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**kept, **environment, "DJANGO_SETTINGS_MODULE": "demo.settings"},
        capture_output=True,
        text=True,
        timeout=120,
    )


def read(*names: str, **environment: str) -> dict[str, Any]:
    """What the settings say."""
    done = python("-c", SETTINGS.format(names=list(names)), **environment)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.smoke
def test_a_deployment_passes_djangos_own_checks():
    done = python("manage.py", "check", "--deploy", "--fail-level", "WARNING", **DEPLOYED)

    assert done.returncode == 0, done.stderr
    assert "no issues" in done.stdout


def test_hsts_for_the_domain_is_off_by_default():
    names = ("SECURE_HSTS_INCLUDE_SUBDOMAINS", "SECURE_HSTS_PRELOAD")

    assert read(*names, **DEPLOYED) == dict.fromkeys(names, False)
    assert read(*names, HSTS_WHOLE_DOMAIN="true", **DEPLOYED) == dict.fromkeys(names, True)


def test_with_database_url_debug_is_off():
    assert read("DEBUG", "SESSION_COOKIE_SECURE", "CSRF_COOKIE_SECURE", "SECURE_SSL_REDIRECT", **DEPLOYED) == {
        "DEBUG": False,
        "SESSION_COOKIE_SECURE": True,
        "CSRF_COOKIE_SECURE": True,
        "SECURE_SSL_REDIRECT": True,
    }
    assert read("SECURE_HSTS_SECONDS", **DEPLOYED)["SECURE_HSTS_SECONDS"] >= 3600


def test_forwarded_headers_count_only_behind_a_configured_proxy():
    assert read("SECURE_PROXY_SSL_HEADER", **DEPLOYED)["SECURE_PROXY_SSL_HEADER"] is None
    behind = read("SECURE_PROXY_SSL_HEADER", BEHIND_PROXY="true", **DEPLOYED)
    assert behind["SECURE_PROXY_SSL_HEADER"] == ["HTTP_X_FORWARDED_PROTO", "https"]


@pytest.mark.parametrize("key", ["", "development-only-key-that-protects-nothing-outside-this-machine"])
def test_a_deployment_without_secret_key_does_not_start(key):
    done = python("manage.py", "check", **{**DEPLOYED, "SECRET_KEY": key})

    assert done.returncode != 0
    assert "Set SECRET_KEY to a long random text" in done.stderr


def test_debug_uses_a_default_key():
    assert read("SECRET_KEY", DEBUG="true")["SECRET_KEY"].startswith("development-only-key")


def test_secrets_come_from_the_environment_only():
    text = (ROOT / "demo" / "settings.py").read_text()

    assert "env.db_url" in text
    assert not [line for line in text.splitlines() if line.startswith("SECRET_KEY") and "secret_key()" not in line]


@pytest.mark.django_db
def test_every_page_has_a_content_security_policy(settings):
    client = Client()
    for place in ("/admin/login/", "/api/tasks", "/no/such/page"):
        response = client.get(place)
        assert response[HEADER] == POLICY
        assert response["X-Frame-Options"] == "DENY"
        assert response["Referrer-Policy"] == "same-origin"
        assert response["X-Content-Type-Options"] == "nosniff"


@pytest.mark.django_db
def test_a_page_with_a_policy_of_its_own_keeps_it(admin_client):
    assert "unsafe-inline" in admin_client.get("/api/redoc")[HEADER]


@pytest.mark.django_db
def test_djangos_error_pages_keep_their_styles_in_debug(settings):
    settings.DEBUG = True

    assert HEADER not in Client(SERVER_NAME="localhost").get("/no/such/page")
