"""`manage.py health`: check the conditions of the alert rules once, for monitoring from outside."""

from __future__ import annotations

import argparse
import json
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError
from django.db import Error, ProgrammingError

from taskqueue.engine.alerts.conditions import CONDITIONS
from taskqueue.engine.alerts.evaluate import Checked, check_now
from taskqueue.engine.runtime.database_errors import error_message

EXIT_FIRING: Final = 1
EXIT_UNKNOWN: Final = 2


class Command(BaseCommand):
    help = (
        "Checks the conditions of the enabled alert rules once; without any rule, the default ones. Needs no worker, "
        "writes nothing and sends nothing. What holds now counts, whatever the time `for` of its rule says. "
        "Exit codes: 0 if no condition holds, or only those of silenced rules; 1 if one holds; 2 if the database does "
        "not answer or lacks migrations."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="Write one JSON object with status, alerts and error.")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            checked = check_now()
        except Error as error:
            remedy = " Run manage.py migrate." if isinstance(error, ProgrammingError) else ""
            detail = f"The conditions cannot be checked: {error_message(error)}{remedy}"
            if options["json"]:
                self.stdout.write(json.dumps({"status": "unknown", "alerts": [], "error": detail}))
            raise CommandError(detail, returncode=EXIT_UNKNOWN) from error
        is_firing = any(each.findings and not each.is_silenced for each in checked)
        if options["json"]:
            alerts = [line for each in checked for line in as_json(each)]
            status = "firing" if is_firing else "ok"
            self.stdout.write(json.dumps({"status": status, "alerts": alerts, "error": None}))
        else:
            lines = [line for each in checked for line in as_text(each)]
            fine = f"Fine: {len(checked)} condition{'s' * (len(checked) != 1)} checked."
            self.stdout.write("\n".join(lines) if lines else fine)
        if is_firing:
            raise SystemExit(EXIT_FIRING)


def as_text(checked: Checked) -> list[str]:
    state = "SILENCED" if checked.is_silenced else "FIRING"
    return [
        f"{state} {checked.rule}: {finding.subject}{': ' if finding.subject else ''}{finding.text}"
        for finding in checked.findings
    ]


def as_json(checked: Checked) -> list[dict[str, Any]]:
    rule = checked.rule
    return [
        {
            "rule": rule.name,
            "condition": rule.condition,
            "subject": finding.subject,
            "value": finding.value,
            "threshold": rule.threshold,
            "unit": CONDITIONS[rule.condition].unit,
            "text": finding.text,
            "silenced": checked.is_silenced,
        }
        for finding in checked.findings
    ]
