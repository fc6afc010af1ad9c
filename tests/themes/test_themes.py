"""Every page opens, with its buttons, under themes of the admin."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from django.contrib.auth.models import User
from django.db import connection

from demo.pipelines import DemoRequest, demo_task
from taskqueue.engine.access.actor import Actor
from taskqueue.engine.events import send
from taskqueue.engine.tasks import control
from taskqueue.models import Worker
from taskqueue.testing import work
from tests.support.processes.processes import ROOT

pytestmark = [pytest.mark.process, pytest.mark.slow, pytest.mark.django_db(transaction=True)]


@pytest.mark.parametrize("theme", ["unfold", "jazzmin"])
def test_every_page_opens_and_has_its_buttons(theme):
    ada = User.objects.create_superuser("ada")
    demo_task.enqueue(DemoRequest(label="broken", delay_seconds=0, simulate_failure=True))
    work()
    Worker.objects.create(host="here", pid=1, cluster="1", version="1", pipelines=["demo/task"])
    send.send("demo/approved", {"title": "x"})
    control.pause_pipeline("demo/print", reason="mended", actor=Actor(ada.pk, "ada"))

    environment = {
        **os.environ, "DEBUG": "true", "THEME": theme, "THEME_TEST_DATABASE": connection.settings_dict["NAME"],
        "DJANGO_SETTINGS_MODULE": "tests.themes.settings", "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "tests.themes.crawl"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=250,
    )

    assert done.returncode == 0, done.stderr
    errors = json.loads(done.stdout)
    assert not errors, "\n".join(errors)
