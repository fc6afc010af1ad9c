"""The verbs retry, cancel, run-now and change, of tasks by their ids, and bulk, of all tasks that match filters."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

from taskqueue.cli.client import Client, ExitCode, Failure
from taskqueue.cli.screen import MEDIUM, Column, Screen, short_time
from taskqueue.cli.tasks import FILTERS, note_of, pages_of
from taskqueue.states import LIVE, ON_A_TIMER, TaskStatus

PARTICIPLES: Final = {"retry": "Retried", "cancel": "Cancelled", "run-now": "Made due", "change": "Changed"}
ELIGIBLE: Final = {"retry": [TaskStatus.FAILED], "cancel": list(LIVE), "run-now": list(ON_A_TIMER)}
"""The statuses of the tasks that a bulk action takes, if none is given."""
REFUSES_ALL: Final = {"login-required", "invalid-token", "not-allowed"}
"""Problems that every other task would have, too."""
PREVIEWED: Final = 10


def act(client: Client, screen: Screen, arguments: Namespace) -> ExitCode:
    """Do this to each of these tasks, and print what became of each."""
    return apply(client, screen, arguments, list(map(str, arguments.ids)))


def apply(client: Client, screen: Screen, arguments: Namespace, ids: Sequence[str]) -> ExitCode:
    """Do this to each task; one that is refused does not keep the others from it.

    Returns:
        That of the first refusal, or DONE.
    """
    send = request_of(client, arguments)
    results: list[dict[str, Any]] = []
    code = ExitCode.DONE
    try:
        with screen.bars() as bars:
            for task_id in ids:
                try:
                    task = send(task_id)
                    results.append({"id": task_id, "task": task, "error": None})
                except Failure as refused:
                    if not refused.problem or refused.problem["code"] in REFUSES_ALL:
                        raise
                    code = code or refused.code
                    results.append({"id": task_id, "task": None, "error": refused.problem})
                    screen.note(f"Task {task_id}: {refused.message}")
                if len(ids) > 1:
                    bars.show("all", arguments.action, done=len(results), total=len(ids), text=f"{len(results)}")
    finally:  # also after Ctrl-C
        print_results(screen, arguments.action, results, len(ids))
    return code


def request_of(client: Client, arguments: Namespace) -> Callable[[str], Any]:
    """A function that sends the request of this verb for one task."""
    names = ("priority", "run_at") if arguments.action == "change" else ("from_step", "reason")
    options = {name: getattr(arguments, name, None) for name in names}
    body = {name: value for name, value in options.items() if value is not None}
    if arguments.action != "change":
        return lambda task_id: client.post(f"tasks/{task_id}/{arguments.action}", body)
    if arguments.label:
        body["labels"] = dict(arguments.label)
    if not body:
        raise Failure("Nothing is to be changed.", code=ExitCode.USAGE, remedy="Add --priority, --run-at or --label.")
    return lambda task_id: client.patch(f"tasks/{task_id}", body)


def print_results(screen: Screen, action: str, results: Sequence[dict[str, Any]], total: int) -> None:
    changed = [result["task"] for result in results if result["task"]]
    if screen.as_json:
        screen.json({"results": results})
    else:
        for task in changed:
            screen.line(f"{task['id']}  {task['status']}")
    if total > 1:
        refused = len(results) - len(changed)
        left = total - len(results)
        rest = f", {refused:,} refused" if refused else ""
        screen.note(f"{PARTICIPLES[action]}: {len(changed):,}{rest}{f', {left:,} not tried' if left else ''}.")


def bulk(client: Client, screen: Screen, arguments: Namespace) -> ExitCode:
    """Do this to all tasks that match the filters, after a preview and a confirmation."""
    if not (arguments.status or arguments.label or any(getattr(arguments, name) for name in FILTERS)):
        raise Failure(
            "Without a filter this would be done to all tasks.",
            code=ExitCode.USAGE,
            remedy="Add --pipeline, --status, --label, --key, --created-after or --created-before.",
        )
    if arguments.reason is not None and arguments.action != "cancel":
        raise Failure("--reason is for cancel.", code=ExitCode.USAGE)
    arguments.status = arguments.status or ELIGIBLE[arguments.action]
    matching = [task for page in pages_of(client, arguments, limit=arguments.limit + 1) for task in page["tasks"]]
    tasks, has_more = matching[: arguments.limit], len(matching) > arguments.limit
    if not tasks:
        screen.note("No tasks match.")
        if screen.as_json:
            screen.json({"results": []})
        return ExitCode.DONE
    preview(screen, tasks)
    if has_more:
        screen.note(f"Only the newest {len(tasks):,} that match; --limit takes more.")
    if arguments.dry_run:
        return ExitCode.DONE
    if not arguments.yes:
        confirm(f"{arguments.action.capitalize()} {len(tasks):,} {'task' if len(tasks) == 1 else 'tasks'}?")
    return apply(client, screen, arguments, [task["id"] for task in tasks])


def preview(screen: Screen, tasks: Sequence[dict[str, Any]]) -> None:
    """Show what would be changed: numbers by pipeline and status, and the newest tasks."""
    counts = Counter((task["pipeline"], task["status"]) for task in tasks)
    for (pipeline, status), number in counts.most_common():
        screen.note(f"{number:>7,}  {status:<9}  {pipeline}")
    if screen.as_json:
        return
    screen.note("")
    screen.table(PREVIEW, tasks[:PREVIEWED], empty="", to_messages=True)
    if len(tasks) > PREVIEWED:
        screen.note(f"… and {len(tasks) - PREVIEWED:,} more")


def confirm(question: str) -> None:
    """Ask on the terminal.

    Raises:
        Failure: the answer is not yes, or there is no terminal to ask on.
    """
    if not sys.stdin.isatty():
        remedy = "Add --yes to do it, or --dry-run to see only what would be done."
        raise Failure(f"There is no terminal on which to ask: {question}", code=ExitCode.USAGE, remedy=remedy)
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Failure("Nothing was changed.", code=ExitCode.REFUSED)


PREVIEW: Final = (
    Column("ID", lambda task: task["id"]),
    Column("CREATED", lambda task: short_time(task["created_at"]), at=MEDIUM),
    Column("NOTE", note_of, cut=True),
)
