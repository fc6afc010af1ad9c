"""The console script `taskqueue`, and what it shares with `manage.py taskqueue`."""

from __future__ import annotations

import argparse
import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Final

from taskqueue.cli.arguments import EXIT_CODES, add_verbs
from taskqueue.cli.client import Client, ExitCode, Failure
from taskqueue.cli.http_client import HttpClient

DESCRIPTION: Final = """\
Submits, finds, watches, retries and cancels tasks of a taskqueue service, by its API. Inside a
Django project `manage.py taskqueue` has the same verbs, and needs no service and no token.
Data goes to stdout, messages to stderr."""
ENVIRONMENT: Final = """\
environment:
  TASKQUEUE_URL    the address of the service; --url replaces it
  TASKQUEUE_TOKEN  the secret of a token; --token replaces it
  NO_COLOR         print no colours"""


def main(argv: Sequence[str] | None = None) -> int:
    """Execute a verb on a service. Returns the exit code."""
    arguments = parser().parse_args(argv)
    return run(arguments, lambda: HttpClient(arguments.url, arguments.token))


def parser() -> ArgumentParser:
    whole = ArgumentParser(
        prog="taskqueue",
        description=DESCRIPTION,
        epilog=f"{ENVIRONMENT}\n\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_service(whole, url=os.environ.get("TASKQUEUE_URL", ""), token=os.environ.get("TASKQUEUE_TOKEN", ""))
    # Each verb takes them too; there their defaults must not replace what was given before the verb.
    of_verb = ArgumentParser(add_help=False)
    add_service(of_verb, url=argparse.SUPPRESS, token=argparse.SUPPRESS)
    add_verbs(whole, parents=[of_verb])
    return whole


def add_service(to: ArgumentParser, *, url: str, token: str) -> None:
    to.add_argument("--url", default=url, help="The address of the service (default: TASKQUEUE_URL).")
    text = "The secret of a token (default: TASKQUEUE_TOKEN, which other users of this machine cannot see)."
    to.add_argument("--token", default=token, help=text)


def run(arguments: Namespace, connect: Callable[[], Client]) -> int:
    """Execute a verb.

    Args:
        arguments: those of the verb.
        connect: makes the client.

    Returns:
        The exit code.
    """
    from taskqueue.cli.screen import Screen  # here, so that --help and wrong arguments need no rich

    screen = Screen(as_json=arguments.as_json)
    module, name = arguments.function.split(".")
    verb = getattr(import_module(f"taskqueue.cli.{module}"), name)
    try:
        code: ExitCode = verb(connect(), screen, arguments)
    except Failure as failure:
        screen.failure(failure)
        return failure.code
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except BrokenPipeError:  # the reader of the output, such as head, has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.REFUSED
    return code
