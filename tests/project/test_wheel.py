"""The wheel works by itself, in an empty environment, in a project into which docs/install.md was followed."""

import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from tests.support.processes.processes import ROOT, running

pytestmark = [pytest.mark.process, pytest.mark.slow]

PAGE = (ROOT / "docs" / "install.md").read_text()
[BLOCK] = re.findall(r"^```sh\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)
[(PLACE, PIPELINE)] = re.findall(r"^```python\n# (\S+)\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)

SETTINGS = """
INSTALLED_APPS = ["mysite.site.Admin" if app == "django.contrib.admin" else app for app in INSTALLED_APPS]
INSTALLED_APPS += ["people", "orders"]
AUTH_USER_MODEL = "people.Person"
LANGUAGE_CODE, TIME_ZONE, USE_I18N = "de", "Europe/Berlin", True
DATABASES = {{"default": {{"ENGINE": "django.db.backends.postgresql", "ATOMIC_REQUESTS": True, **{database}}}}}
REST_FRAMEWORK = {{"DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAdminUser"]}}
"""
PEOPLE = {
    "people/__init__.py": "",
    "people/migrations/__init__.py": "",
    "people/models.py": """
import uuid
from django.contrib.auth.models import AbstractUser
from django.db import models


class Person(AbstractUser):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
""",
    "mysite/site.py": """
from django.contrib.admin import AdminSite
from django.contrib.admin.apps import AdminConfig


class Site(AdminSite):
    site_header = "Our own site"


class Admin(AdminConfig):
    default_site = "mysite.site.Site"
""",
    "orders/__init__.py": "",
}
VISIT = """
import json
import django
django.setup()
import taskqueue
from django.contrib.auth import get_user_model
from django.test import Client
from drf_spectacular.generators import SchemaGenerator
from orders.pipelines import greeting

browser = Client(SERVER_NAME="localhost")
browser.force_login(get_user_model().objects.create_superuser("ada"))
body = {"pipeline": "orders/greeting", "payload": {"name": "you"}}
made = browser.post("/api/tasks", body, content_type="application/json")
ended = browser.get(f"{made['Location']}/status?wait=30", **{"wsgi.multithread": True})
lists = browser.get("/admin/").content.decode()
print(json.dumps({
    "place": taskqueue.__file__,
    "made": made.status_code,
    "enqueued": greeting.enqueue("me").status,
    "ended": ended.json(),
    "result": browser.get(made["Location"]).json()["result"],
    "refused": browser.put("/api/tasks").json()["detail"],
    "pages": {
        address: browser.get(address).status_code
        for address in (
            "/admin/taskqueue/task/", f"/admin/taskqueue/task/{made.json()['id']}/change/",
            "/admin/taskqueue/pipeline/", "/admin/taskqueue/worker/", "/api/docs", "/api/schema", "/metrics",
        )
    },
    "site": "Our own site" in lists and 'lang="de"' in lists,
    "theirs": list(SchemaGenerator().get_schema(request=None, public=True)["paths"]),
}))
"""


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """Run a command to its end; its output, which goes into the failure when it fails."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env={"PATH": "/usr/bin:/bin"} | inherited_environment() | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def inherited_environment() -> dict[str, str]:
    """What pip needs to know of this machine: proxies, certificates, mirrors, its cache."""
    kept = ("PIP_", "HTTP", "http", "NO_PROXY", "no_proxy", "SSL_", "REQUESTS_", "HOME", "XDG_")
    return {name: value for name, value in os.environ.items() if name.startswith(kept)}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--outdir", folder, ROOT, cwd=folder)
    [built] = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory) -> Path:
    """The Python of an environment that holds the wheel, what it asks for, and nothing else."""
    folder = tmp_path_factory.mktemp("empty environment")
    run(sys.executable, "-m", "venv", folder, cwd=folder)
    python = folder / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", "--no-compile", wheel, cwd=folder)
    return python


def test_the_wheel_carries_code_migrations_templates_static_files_and_types(wheel):
    ours = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "taskqueue").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    templates = {f"taskqueue/{path.relative_to(ROOT)}" for path in (ROOT / "templates").rglob("*") if path.is_file()}

    carried = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}

    assert "taskqueue/py.typed" in carried
    assert any(name.startswith("taskqueue/migrations/0001") for name in carried)
    assert templates
    assert carried == ours | templates


def test_the_wheel_has_the_pytest_plugin_without_requiring_pytest(wheel):
    with zipfile.ZipFile(wheel) as opened:
        parts = {name.rpartition("/")[2]: name for name in opened.namelist() if ".dist-info/" in name}
        entries = opened.read(parts["entry_points.txt"]).decode()
        needs = [
            line for line in opened.read(parts["METADATA"]).decode().splitlines() if line.startswith("Requires-Dist")
        ]

    assert "[pytest11]\ntaskqueue.testing.plugin = taskqueue.testing.plugin" in entries
    assert not [line for line in needs if "pytest" in line and "extra ==" not in line]


@pytest.fixture
def database(transactional_db: None) -> Iterator[Mapping[str, Any]]:
    """A new database on the tests' server, as any project would name it."""
    name = f"{connection.settings_dict['NAME']}_install"
    with connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        cursor.execute(f"CREATE DATABASE {name}")
        server = connection.connection.info
        yield {"NAME": name, "USER": server.user, "HOST": server.host, "PORT": server.port}
        cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def project(python, tmp_path: Path, database: Mapping[str, Any]) -> Path:
    """A fresh project with settings of its own."""
    run(python, "-m", "django", "startproject", "mysite", ".", cwd=tmp_path)
    for name, text in {**PEOPLE, PLACE: PIPELINE}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    with (tmp_path / "mysite" / "settings.py").open("a") as settings:
        settings.write(SETTINGS.format(database=dict(database)))
    return tmp_path


@pytest.mark.smoke
@pytest.mark.timeout(400)  # it downloads what the wheel asks for, when pip's cache is empty
def test_the_install_page_works_in_another_project(python, project, tmp_path):
    path = os.pathsep.join([str(python.parent), "/usr/bin:/bin"])
    environment = {"PATH": path, "DJANGO_SETTINGS_MODULE": "mysite.settings"}

    run(python, "manage.py", "makemigrations", "people", cwd=project, **environment)
    output = run("sh", "-e", "-c", BLOCK, cwd=project, **environment)
    log = tmp_path / "worker.log"
    worker = running(
        [python, project / "manage.py", "worker", "--processes", "1"],
        env=inherited_environment() | environment,
        log=log,
    )
    with worker as process:
        seen = json.loads(run(python, "-W", "error", "-c", VISIT, cwd=project, **environment).partition("\n")[0])
        process.terminate()
        assert process.wait(timeout=90) == 0, log.read_text()

    assert "System check identified no issues (0 silenced)." in output
    assert Path(seen["place"]).is_relative_to(python.parents[1])
    assert (seen["made"], seen["ended"]["status"], seen["result"]) == (202, "succeeded", "hello you"), log.read_text()
    assert seen["enqueued"] == "queued"
    assert seen["refused"] == 'Method "PUT" not allowed.'
    assert set(seen["pages"].values()) == {200}, seen["pages"]
    assert seen["site"]
    assert seen["theirs"] == []


def test_the_install_page_needs_four_lines():
    added = re.findall(r"<<'END'\n(.*?)^END", BLOCK, flags=re.DOTALL | re.MULTILINE)

    assert [len([line for line in lines.splitlines() if line]) for lines in added] == [3, 2]
