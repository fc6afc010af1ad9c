"""The wheel works by itself, in an empty environment, beside a project that is not ours."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

SETTINGS = """
SECRET_KEY = "for-this-test-only"
INSTALLED_APPS = [
    "django.contrib.admin", "django.contrib.auth", "django.contrib.contenttypes", "django.contrib.messages",
    "django.contrib.sessions", "django.contrib.staticfiles", "rest_framework", "drf_spectacular", "django_q",
    "taskqueue", "shop",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [{
    "BACKEND": "django.template.backends.django.DjangoTemplates",
    "APP_DIRS": True,
    "OPTIONS": {"context_processors": [
        "django.template.context_processors.request",
        "django.contrib.auth.context_processors.auth",
        "django.contrib.messages.context_processors.messages",
    ]},
}]
ROOT_URLCONF = "shop.urls"
STATIC_URL = "static/"
DATABASES = {"default": {
    "ENGINE": "django.db.backends.postgresql", "NAME": "shop", "HOST": "/nowhere", "CONN_MAX_AGE": None,
}}
USE_TZ = True
TASKQUEUE = {}
Q_CLUSTER = {
    "name": "shop", "orm": "default", "broker_class": "taskqueue.workers.doorbell.Doorbell", "workers": 2,
    "timeout": 86400, "retry": 90000, "max_attempts": 1, "ack_failures": True, "catch_up": False,
}
REST_FRAMEWORK = {"DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema"}
"""

URLS = """
from django.contrib import admin
from django.urls import include, path

urlpatterns = [path("admin/", admin.site.urls), path("api/", include("taskqueue.urls"))]
"""

PIPELINES = """
from taskqueue import pipeline, step


@step
def charge(amount: int) -> int:
    return amount


@pipeline("shop/order")
def order(amount: int) -> int:
    return charge(amount)
"""

LOOK_AROUND = """
import django
django.setup()
from pathlib import Path
import taskqueue
from taskqueue.definitions import registry
print(Path(taskqueue.__file__).parent)
print([definition.name for definition in registry.all()])
"""


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command to its end; its output goes into the failure when it fails."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env={"PATH": "/usr/bin:/bin", "DJANGO_SETTINGS_MODULE": "shop.settings"} | passed_on(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def passed_on() -> dict[str, str]:
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


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    app = folder / "shop"
    app.mkdir()
    files = {"__init__.py": "", "settings.py": SETTINGS, "urls.py": URLS, "pipelines.py": PIPELINES}
    for name, text in files.items():
        (app / name).write_text(text)
    return folder


@pytest.mark.process
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


@pytest.mark.process
def test_the_wheel_names_the_pytest_plugin_and_asks_for_no_pytest(wheel):
    with zipfile.ZipFile(wheel) as opened:
        parts = {name.rpartition("/")[2]: name for name in opened.namelist() if ".dist-info/" in name}
        entries = opened.read(parts["entry_points.txt"]).decode()
        needs = [
            line for line in opened.read(parts["METADATA"]).decode().splitlines() if line.startswith("Requires-Dist")
        ]

    assert "[pytest11]\ntaskqueue.testing.plugin = taskqueue.testing.plugin" in entries
    assert not [line for line in needs if "pytest" in line and "extra ==" not in line]


@pytest.mark.process
@pytest.mark.timeout(400)  # it downloads what the wheel asks for, when pip's cache is empty
def test_a_project_that_installs_the_wheel_passes_its_checks_and_finds_its_pipelines(python, project):
    run(python, "-m", "django", "check", cwd=project)
    run(python, "-m", "django", "makemigrations", "--check", "--dry-run", "taskqueue", cwd=project)
    place, pipelines = run(python, "-c", LOOK_AROUND, cwd=project).splitlines()

    assert Path(place).is_relative_to(python.parents[1])
    assert pipelines == "['shop/order']"
