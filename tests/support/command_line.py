"""The command line in the tests' process, against a live server or inside the project."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any

from django.core.management import ManagementUtility

from taskqueue.cli.main import main


@dataclass(frozen=True)
class Result:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """What it printed to stdout, as JSON."""
        return json.loads(self.out)


@dataclass(frozen=True)
class CommandLine:
    """Executes commands in one mode.

    Attributes:
        mode: "http" or "project".
        actor: the user that the audit names.
        token: what the audit adds.
    """

    mode: str
    actor: str
    token: str
    execute: Callable[[Sequence[str]], int]

    def __call__(self, *words: object, stdin: str = "") -> Result:
        out, err, before = io.StringIO(), io.StringIO(), sys.stdin
        sys.stdin = io.StringIO(stdin)
        try:
            with redirect_stdout(out), redirect_stderr(err):
                code = code_of(self.execute, [str(word) for word in words])
        finally:
            sys.stdin = before
        return Result(code, out.getvalue(), err.getvalue())


def code_of(execute: Callable[[Sequence[str]], int], words: Sequence[str]) -> int:
    try:
        return execute(words)
    except SystemExit as end:
        return int(end.code or 0)


def in_project(words: Sequence[str]) -> int:
    """Execute `manage.py taskqueue` with these words."""
    ManagementUtility(["manage.py", "taskqueue", *words]).execute()
    return 0


def over_http(url: str, token: str) -> Callable[[Sequence[str]], int]:
    """A function that executes the console script with these words."""
    return lambda words: main(["--url", url, "--token", token, *words])
