"""The files for contributors and releases can be read by the programs that they are for, and name what exists."""

from __future__ import annotations

import re
import tomllib
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from taskqueue.api.openapi.settings import SETTINGS
from tests.support.processes.processes import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
TEST_PACKAGES = [Requirement(line) for line in PROJECT["project"]["optional-dependencies"]["test"]]
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*_*.yml"))
RELEASING = (ROOT / "docs" / "releasing.md").read_text()
PAGES = ["CONTRIBUTING.md", "SECURITY.md", "docs/releasing.md"]


def parsed(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def hooks() -> list[dict[str, Any]]:
    (repository,) = parsed(ROOT / ".pre-commit-config.yaml")["repos"]
    assert repository["repo"] == "local", "hooks of another repository are downloaded"
    found: list[dict[str, Any]] = repository["hooks"]
    return found


@pytest.mark.parametrize("hook", hooks(), ids=lambda hook: hook["id"])
def test_a_hook_runs_a_pinned_tool_of_ours_or_a_pattern(hook):
    pinned = {package.name for package in TEST_PACKAGES if str(package.specifier).startswith("==")}
    tools = {".venv/bin/ruff": "ruff", ".venv/bin/lint-imports": "import-linter"}

    if hook["language"] == "pygrep":
        re.compile(hook["entry"])
    else:
        assert hook["language"] == "system"
        assert tools[hook["entry"].split()[0]] in pinned


def test_hooks_cover_format_lint_and_imports():
    assert {"ruff-format", "ruff-check", "imports", "end-of-file"} <= {hook["id"] for hook in hooks()}


def test_the_editor_has_the_line_length_of_the_linter():
    settings = ConfigParser()
    settings.read_string("[top]\n" + (ROOT / ".editorconfig").read_text())

    assert int(settings["*.py"]["max_line_length"]) == PROJECT["tool"]["ruff"]["line-length"]
    assert settings["Makefile"]["indent_style"] == "tab"
    assert settings["*"]["insert_final_newline"] == "true"


def test_there_is_a_form_for_bugs_and_one_for_features():
    assert [form.name for form in FORMS] == ["bug_report.yml", "feature_request.yml"]
    assert parsed(FORMS[0].with_name("config.yml")) == {"blank_issues_enabled": False}


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.stem)
def test_an_issue_form_has_what_the_hosting_site_asks_for(form):
    content = parsed(form)
    fields = [field for field in content["body"] if field["type"] != "markdown"]
    identifiers = [field["id"] for field in fields]

    assert {"name", "description", "labels", "body"} == set(content)
    assert {field["type"] for field in fields} <= {"textarea", "input", "dropdown", "checkboxes"}
    assert len(set(identifiers)) == len(identifiers)
    assert all(field["attributes"]["label"] for field in fields)
    assert any(field.get("validations", {}).get("required") for field in fields)
    assert all(field["attributes"]["options"] for field in fields if field["type"] == "dropdown")


def test_the_version_is_said_alike_in_the_project_the_api_and_its_schema():
    version = PROJECT["project"]["version"]

    assert SETTINGS["VERSION"] == version
    assert parsed(ROOT / "openapi.yaml")["info"]["version"] == version


def test_modules_that_the_release_runs_come_from_python_the_project_or_the_page_itself():
    run = set(re.findall(r"python -m (\w+)", RELEASING))
    installed = {package.name for package in TEST_PACKAGES}

    assert {"build", "zipfile", "tarfile", "pip", "uv"} == run
    assert "build" in installed
    assert "python -m pip install uv" in RELEASING


def test_the_release_names_files_that_exist():
    named = set(re.findall(r"`((?:\.?[\w-]+/)*[\w.-]+\.(?:py|md|toml|yaml|lock)|\.ci/run)`", RELEASING))

    assert {"pyproject.toml", "CHANGELOG.md", "openapi.yaml", "requirements.lock", ".ci/run"} <= named
    assert {path for path in named if not (ROOT / path).exists()} == set()


def test_contributing_is_one_page():
    assert len((ROOT / "CONTRIBUTING.md").read_text().splitlines()) <= 60


@pytest.mark.parametrize("page", PAGES)
def test_links_of_a_page_lead_to_files(page):
    folder = (ROOT / page).parent
    links = re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / page).read_text())

    assert links
    assert [link for link in links if not (folder / link).exists()] == []
