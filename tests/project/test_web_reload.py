"""In DEBUG the web server goes on with the code that was saved last, also after code that could not be imported."""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import pytest

from tests.support.processes.processes import ROOT, free_port, running
from tests.support.waiting import eventually

pytestmark = pytest.mark.process

APPLICATION = """
def application(environ, start_response):
    start_response("200 OK", [])
    return [b"{answer}"]
"""


@contextmanager
def serving(module: Path, log: Path) -> Iterator[str]:
    """The address of a web server that loads this module, and stops in good order."""
    site = f"http://127.0.0.1:{(port := free_port())}"
    command = [sys.executable, "-m", "gunicorn", "--workers", "1", "--pythonpath", str(module.parent), module.stem]
    environment = {**os.environ, "DEBUG": "true", "PORT": str(port)}
    with running(command, env=environment, log=log) as web:
        yield site
        web.terminate()
        assert web.wait(timeout=90) == 0


def test_saved_code_is_reloaded_and_errors_are_shown(tmp_path: Path):
    module, log = tmp_path / "reloaded_site.py", tmp_path / "web.log"
    module.write_text(APPLICATION.format(answer="first"))

    with serving(module, log) as site:

        def serves(text: str) -> None:
            eventually(lambda: text in body_of(site), details=log.read_text)

        serves("first")
        module.write_text("no_such_name\n")
        serves("NameError: name 'no_such_name' is not defined")
        # Of another length than the code before: within a second Python tells them apart by it, in its cache.
        module.write_text("def broken(: pass\n")
        serves("SyntaxError: invalid syntax")
        module.write_text(APPLICATION.format(answer="second"))
        serves("second")
    assert f"{module} has changed: loading it again." in log.read_text()
    assert f"{module}, line 1: NameError: name 'no_such_name' is not defined. " in log.read_text()
    assert f"{module}, line 1: SyntaxError: invalid syntax. " in log.read_text()


def test_what_is_saved_while_code_is_loaded_is_served_too(tmp_path: Path):
    module, log = tmp_path / "saved_meanwhile.py", tmp_path / "web.log"
    second = APPLICATION.format(answer="second")
    module.write_text(f"open(__file__, 'w').write({second!r})" + APPLICATION.format(answer="first"))

    with serving(module, log) as site:
        eventually(lambda: body_of(site) == "second", details=log.read_text)


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
