"""`manage.py check` in a project that lists taskqueue and has set nothing else for it."""

import os
import re
import subprocess
import sys

import pytest

from taskqueue.defaults import APPS, with_apps

pytestmark = pytest.mark.smoke

SETTINGS = """
SECRET_KEY = "for this test only"
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "taskqueue"]
USE_TZ = False
DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql", "NAME": "shop", "HOST": "/nowhere"}}
"""


def test_missing_apps_and_settings_are_named_with_a_hint(tmp_path):
    (tmp_path / "bare_settings.py").write_text(SETTINGS)

    done = subprocess.run(
        [sys.executable, "-m", "django", "check"],
        cwd=tmp_path,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "bare_settings"},
        capture_output=True,
        text=True,
        timeout=250,
    )

    named = re.findall(r'HINT: Add "(\S+)" to INSTALLED_APPS', done.stderr)
    assert done.returncode == 1
    assert set(named) == {app for app in APPS if app != "taskqueue"}
    assert "Set USE_TZ = True" in done.stderr
    assert set(re.findall(r"taskqueue\.[EW]\d+", done.stderr)) == {"taskqueue.E010", "taskqueue.E011"}


@pytest.mark.parametrize(
    ("installed", "expected"),
    [
        (["shop"], ["shop", *APPS]),
        (["rest_framework", "shop"], ["rest_framework", "shop", *(app for app in APPS if app != "rest_framework")]),
        (["django_q", "shop"], [*(app for app in APPS if app != "django_q"), "django_q", "shop"]),
        ([*APPS, "shop"], [*APPS, "shop"]),
    ],
)
def test_missing_apps_are_added_once_before_django_q2(installed, expected):
    assert with_apps(installed) == expected
