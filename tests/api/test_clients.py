"""The contract as others use it: two public linters, and clients in two languages that generators make of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User

from taskqueue import pipeline
from taskqueue.api.openapi.schema import current_schema
from taskqueue.definitions import registry
from taskqueue.engine.actions import tokens
from taskqueue.engine.catalog.sync import sync_pipelines
from tests.support.processes.network_namespace import skip_or_fail
from tests.support.registries import own_registry

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
TOOLS = ROOT / ".venv" / "clients"
FOR_NODE = (
    "@redocly/cli@2.77.0",
    "@stoplight/spectral-cli@6.16.3",
    "openapi-typescript@7.13.0",
    "typescript@5.9.3",
    "@types/node@20.19.9",
)
FOR_PYTHON = ("openapi-python-client==0.29.1", "mypy==1.18.2")

pytestmark = [pytest.mark.slow, pytest.mark.process, pytest.mark.timeout(600)]


def run(*words: object, **options: Any) -> str:
    """Run a command; what it says, which is all there is to read when it fails."""
    done = subprocess.run(
        [str(word) for word in words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def node() -> Path:
    """Where the commands of npm's packages are."""
    if shutil.which("npm") is None:
        skip_or_fail("There is no `npm` command. Install Node.js 20 or newer (on Debian: apt install npm).")
    folder, stamp = TOOLS / "node", TOOLS / "node.json"
    if not stamp.exists() or json.loads(stamp.read_text()) != list(FOR_NODE):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_text("{}")
        run(
            "npm",
            "install",
            "--prefix",
            folder,
            "--no-audit",
            "--no-fund",
            "--ignore-scripts",
            "--save-exact",
            *FOR_NODE,
        )
        stamp.write_text(json.dumps(FOR_NODE))
    return folder / "node_modules"


@pytest.fixture(scope="module")
def python() -> Path:
    """The commands of an environment of their own: a client must need nothing of ours."""
    folder, stamp = TOOLS / "python", TOOLS / "python.json"
    if not stamp.exists() or json.loads(stamp.read_text()) != list(FOR_PYTHON):
        run(sys.executable, "-m", "venv", "--clear", folder)
        run(folder / "bin" / "python", "-m", "pip", "install", "--quiet", *FOR_PYTHON)
        stamp.write_text(json.dumps(FOR_PYTHON))
    return folder / "bin"


@pytest.fixture
def shop() -> Iterator[None]:
    """The README's pipeline, one whose name ends in the same word, and the demo's."""
    demo = [definition for definition in registry.all() if definition.name.startswith("demo/")]
    assert demo
    with own_registry(empty=True):
        for definition in demo:
            registry.add(definition)

        @pipeline("shop/fulfil")
        def fulfil(order_id: int) -> None: ...

        @pipeline("billing/fulfil")
        def fulfil_invoice(invoice: str, copies: int = 1) -> None: ...

        yield


@pytest.fixture
def service(shop: None, live_server: Any, tmp_path: Path) -> list[str]:
    """The address of a running service, and a token for it; its schema is in the test's directory."""
    sync_pipelines()
    (tmp_path / "schema.json").write_text(json.dumps(current_schema()))
    return [live_server.url, tokens.issue(User.objects.create_superuser("dana"), name="client")[1]]


def test_two_public_linters_accept_the_schema(node, tmp_path):
    rules = tmp_path / "spectral.yaml"
    rules.write_text('extends: ["spectral:oas"]\n')
    quiet = {**os.environ, "REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"}

    said = run(node / ".bin" / "redocly", "lint", ROOT / "openapi.yaml", cwd=tmp_path, env=quiet)
    assert "Your API description is valid" in said
    assert "warning" not in said.replace("Deprecation warning", "")
    strict = ("--ruleset", rules, "--fail-severity", "warn")
    run(node / ".bin" / "spectral", "lint", ROOT / "openapi.yaml", *strict, cwd=tmp_path)


def test_a_python_client_is_generated_checked_and_called(python, service, tmp_path):
    said = run(
        python / "openapi-python-client",
        *("generate", "--path", "schema.json", "--meta", "none", "--output-path", "shop_client"),
        cwd=tmp_path,
    )
    assert "WARNING" not in said
    assert "will not be generated" not in said
    shutil.copy(HERE / "client.py", tmp_path)

    run(python / "mypy", "--strict", "shop_client", "client.py", cwd=tmp_path)
    run(python / "python", "client.py", *service, cwd=tmp_path)


def test_typescript_types_are_generated_checked_and_called(node, service, tmp_path):
    run(node / ".bin" / "openapi-typescript", "schema.json", "--output", "api.d.ts", cwd=tmp_path)
    shutil.copy(HERE / "client.ts", tmp_path)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "node_modules").symlink_to(node)

    run(
        node / ".bin" / "tsc",
        *("--strict", "--exactOptionalPropertyTypes", "--noUncheckedIndexedAccess", "--types", "node"),
        *("--target", "es2022", "--module", "nodenext", "client.ts"),
        cwd=tmp_path,
    )
    run("node", "client.js", *service, cwd=tmp_path)
