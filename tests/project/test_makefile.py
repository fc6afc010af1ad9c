"""The make commands that the documents name exist, and say what to do when the machine lacks something."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.processes.processes import ROOT

TARGETS = set(re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)[1].split())


def make(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["make", *arguments], cwd=folder, capture_output=True, text=True, timeout=200)


@pytest.fixture
def fresh(tmp_path) -> Path:
    """A fresh checkout at a path with a space."""
    folder = tmp_path / "my project"
    folder.mkdir()
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    return folder


DOCUMENTS = [
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "docs/releasing.md",
    ".github/pull_request_template.md",
    ".github/ISSUE_TEMPLATE/bug_report.yml",
]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_make_command_in_a_document_exists(document):
    named = set(re.findall(r"(?:`|^)make ([a-z-]+)", (ROOT / document).read_text(), flags=re.MULTILINE))

    assert named
    assert named <= TARGETS


def test_make_alone_lists_every_command(fresh):
    listed = re.findall(r"^make ([\w-]+)", make(folder=fresh).stdout, flags=re.MULTILINE)

    assert {*listed, "help"} == TARGETS


@pytest.mark.parametrize(
    "part",
    [
        "ruff format --check",
        "ruff check",
        "mypy",
        "lint-imports",
        "makemigrations --check",
        "--validate --fail-on-warn",
    ],
)
def test_make_check_runs_all_checks(part):
    assert part in make("--dry-run", "check", folder=ROOT).stdout


@pytest.mark.parametrize(
    ("arguments", "spreads"),
    [
        ("", True),
        ("tests/engine", True),
        ("tests/policies/test_cron.py tests/policies/test_keys.py", True),
        ("-m 'not process'", True),
        ("tests/policies/test_cron.py", False),
        ("-x tests/policies/test_cron.py::test_a_name", False),
        ("tests/engine -k retry", False),
    ],
)
def test_make_test_spreads_folders_over_processes_and_runs_one_file_in_one(arguments, spreads):
    shown = make("--dry-run", "test", f"ARGS={arguments}", folder=ROOT).stdout

    assert ("--numprocesses 4" in shown) is spreads
    # Under another make, its "Entering directory" stands around the command.
    (command,) = [line.rstrip() for line in shown.splitlines() if "-m pytest" in line]
    assert command.endswith(f'-m "not slow" {arguments}'.rstrip())


def test_make_test_and_make_test_slow_run_every_test_once():
    shown = make("--dry-run", "test", "test-slow", folder=ROOT).stdout
    rest, browser, others = [line.split("-m pytest")[1] for line in shown.splitlines() if "-m pytest" in line]

    assert '-m "not slow"' in rest
    assert "--ignore" not in rest
    assert browser.split()[:3] == ["tests/browser", "-m", "slow"]
    assert others.split()[:2] == ["--ignore", "tests/browser"]
    assert "-m slow" in others


def test_make_dev_has_debug_and_reload_on_and_logs_requests():
    shown = make("--dry-run", "dev", "PORT=8010", folder=ROOT).stdout

    assert 'DEBUG=true RELOAD=true ACCESS_LOG="-" exec .venv/bin/python manage.py quickstart --port "8010"' in shown


def test_make_names_the_python_version_to_install(fresh):
    done = make("run", "PYTHONS=python2.7 no-such-python", folder=fresh)

    assert done.returncode != 0
    assert "Python 3.11 or newer is needed" in done.stderr
    assert not (fresh / ".venv").exists()


def test_make_reports_a_missing_venv_module(fresh):
    python = fresh / "python"
    python.write_text('#!/bin/sh\ncase "$2" in *ensurepip*) exit 1 ;; esac\n')
    python.chmod(0o755)

    done = make("run", "PYTHONS=./python", folder=fresh)

    assert done.returncode != 0
    assert "apt install python3-venv" in done.stderr
