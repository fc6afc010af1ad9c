"""`manage.py taskqueue`: the verbs of the command line, inside the project."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from django.core.management.base import BaseCommand, DjangoHelpFormatter

from taskqueue.cli.arguments import EXIT_CODES, add_verbs
from taskqueue.cli.in_project import InProjectClient
from taskqueue.cli.main import run


class HelpFormatter(DjangoHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Keeps the lines of the exit codes."""


class Command(BaseCommand):
    help = """\
Submits, finds, watches, retries and cancels tasks of this project's database. The audit names
the user of the operating system. Data goes to stdout, messages to stderr."""
    requires_system_checks = ()

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> Any:
        options = {"epilog": EXIT_CODES, "formatter_class": HelpFormatter, **kwargs}
        return super().create_parser(prog_name, subcommand, **options)

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        add_verbs(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        if options["no_color"]:
            os.environ["NO_COLOR"] = "1"
        if code := run(argparse.Namespace(**options), InProjectClient):
            sys.exit(code)
