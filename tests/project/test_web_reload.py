"""In DEBUG the web server goes on with the code that was saved last, also after code that could not be imported."""

from __future__ import annotations

import itertools
import os
import runpy
import sys
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import pytest

from tests.support.processes.processes import ROOT, free_port, running
from tests.support.waiting import eventually

pytestmark = pytest.mark.process

SAVE_EVERY = 200
"""Looks, of which each takes 20 ms at least."""
APPLICATION = """
def application(environ, start_response):
    start_response("200 OK", [])
    return [b"{answer}"]
"""


def test_saved_code_is_served_and_broken_code_is_shown_until_it_is_corrected(tmp_path: Path):
    module = tmp_path / "reloaded_site.py"
    module.write_text(APPLICATION.format(answer="first"))
    site = f"http://127.0.0.1:{(port := free_port())}"
    command = [sys.executable, "-m", "gunicorn", "--workers", "1", "--pythonpath", str(tmp_path), "reloaded_site"]
    environment = {**os.environ, "DEBUG": "true", "PORT": str(port)}
    log = tmp_path / "web.log"

    with running(command, env=environment, log=log) as web:

        def serves(code: str, text: str) -> None:
            """Save the code, and save it again now and then: what is saved in the second after a reload is missed."""
            looks = itertools.count()

            def is_served() -> bool:
                if next(looks) % SAVE_EVERY == 0:
                    module.write_text(code)
                return text in body_of(site)

            eventually(is_served, otherwise=log.read_text)

        serves(APPLICATION.format(answer="first"), "first")
        serves("no_such_name\n", "NameError: name 'no_such_name' is not defined")
        serves("def broken(:\n", "SyntaxError: invalid syntax")
        serves(APPLICATION.format(answer="second"), "second")
        web.terminate()
        assert web.wait(timeout=90) == 0
    assert f"{module}, line 1: NameError: name 'no_such_name' is not defined. " in log.read_text()
    assert f"{module}, line 1: SyntaxError: invalid syntax. " in log.read_text()


def body_of(address: str) -> str:
    """What a web server says there; "" where there is none."""
    try:
        with urlopen(address, timeout=60) as response:  # noqa: S310 - a server of ours
            return str(response.read().decode())
    except HTTPError as error:
        return error.read().decode()
    except (URLError, TimeoutError, ConnectionError):
        return ""


def test_a_deployment_does_not_reload(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DATABASE_URL", "postgres://server/database")
    monkeypatch.delenv("DEBUG", raising=False)
    assert runpy.run_path(str(ROOT / "gunicorn.conf.py"))["reload"] is False

    monkeypatch.setenv("DEBUG", "true")
    assert runpy.run_path(str(ROOT / "gunicorn.conf.py"))["reload"] is True
