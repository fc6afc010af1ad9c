"""The runbook covers each alert; its pages open and its commands run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from django.core.management import call_command

ROOT = Path(__file__).parents[2]
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()
ROWS = re.findall(r"^\| (Taskqueue\w+): .*? \| (?:\[)?`(/[^`]+)`", RUNBOOK, flags=re.MULTILINE)
COMMANDS = re.findall(r"^python manage\.py (.+)$", RUNBOOK, flags=re.MULTILINE)


def test_each_alert_has_a_row():
    groups = yaml.safe_load((ROOT / "deploy" / "prometheus-alerts.yml").read_text())["groups"]

    assert [name for name, _page in ROWS] == [rule["alert"] for group in groups for rule in group["rules"]]


@pytest.mark.parametrize("page", sorted(set(re.findall(r"`(/(?:admin|api)/[^`]+)`", RUNBOOK))))
def test_each_page_opens(admin_client, page):
    assert admin_client.get(page).status_code == 200


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.django_db(transaction=True)
def test_each_command_runs(command, capsys):
    call_command(*command.split())

    assert "Traceback" not in capsys.readouterr().err


def test_each_link_has_a_target():
    titles = re.findall(r"^#+ (.+)$", RUNBOOK, flags=re.MULTILINE)
    headings = {title.lower().replace(" ", "-") for title in titles}

    assert set(re.findall(r"\]\(#([\w-]+)\)", RUNBOOK)) <= headings
    for link in re.findall(r"\]\(([\w/-]+\.md)", RUNBOOK):
        assert (ROOT / "docs" / link).exists()
    assert len(COMMANDS) == 6
