"""The verbs drain and resume, of workers by their ids."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from taskqueue.cli.client import Client, ExitCode, Failure
from taskqueue.cli.screen import Screen


def drain_or_resume(client: Client, screen: Screen, arguments: Namespace) -> ExitCode:
    """Drain or resume each of these workers; one that is refused does not keep the others from it.

    Returns:
        That of the first refusal, or DONE.
    """
    code = ExitCode.DONE
    workers: list[dict[str, Any]] = []
    for worker_id in arguments.workers:
        try:
            workers.append(client.post(f"workers/{worker_id}/{arguments.verb}"))
        except Failure as refused:
            if refused.code not in (ExitCode.REFUSED, ExitCode.NOT_FOUND):
                raise
            code = code or refused.code
            screen.note(refused.message)
    if screen.as_json:
        screen.json({"workers": workers})
    else:
        for worker in workers:
            screen.line(f"{worker['id']}  {worker['state']}  {worker['name']}")
    return code
