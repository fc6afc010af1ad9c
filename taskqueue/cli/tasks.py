"""The verbs submit, list and show."""

from __future__ import annotations

import difflib
from argparse import Namespace
from collections.abc import Iterator
from typing import Any, Final

from taskqueue.cli.client import Client, ExitCode, Failure, is_unknown_pipeline
from taskqueue.cli.screen import MEDIUM, WIDE, Column, Screen, duration, json_text, local_time, short_time
from taskqueue.cli.watching import error_text, follow, report

PAGE_SIZE: Final = 200
"""Rows that the API lists at once."""
LONGEST_VALUE: Final = 2_000
FILTERS: Final = (
    "pipeline", "pipeline_prefix", "key", "subject", "error", "error_text", "created_after", "created_before",
    "ended_after", "ended_before", "took_at_least", "took_less_than",
)  # fmt: skip
"""The filters that the API calls by these names."""


def submit(client: Client, screen: Screen, arguments: Namespace) -> ExitCode:
    """Submit a task, and with `--wait` follow it to its end."""
    body = {
        "pipeline": arguments.name,
        "payload": arguments.payload,
        "key": arguments.key,
        "force": arguments.force,
        "priority": arguments.priority,
        "run_at": arguments.run_at,
        "labels": dict(arguments.label),
        "callback_url": arguments.callback_url,
    }
    try:
        task = client.post("tasks", {name: value for name, value in body.items() if value is not None})
    except Failure as failure:
        raise with_similar_names(client, failure, arguments.name) from failure
    what = "An existing task is returned" if task["duplicate"] else "Submitted"
    screen.note(f"{what}: {task['pipeline']} {task['id']}, {task['status']}.")
    if not (arguments.wait or arguments.timeout):
        if screen.as_json:
            screen.json(task)
        else:
            screen.line(task["id"])
        return ExitCode.DONE
    follow(client, screen, [task["id"]], arguments.timeout)
    ended = client.get(f"tasks/{task['id']}")
    if screen.as_json:
        screen.json(ended)
    elif ended["status"] == "succeeded":
        screen.json(ended["result"])
    return report(screen, [ended])


def with_similar_names(client: Client, failure: Failure, name: str) -> Failure:
    """The failure, for an unknown pipeline with the names of pipelines that are spelt like it."""
    if not is_unknown_pipeline(failure.problem):
        return failure
    try:
        names = [pipeline["name"] for pipeline in client.get("pipelines")["pipelines"]]
    except Failure:  # the caller may lack the permission for it
        return failure
    similar = difflib.get_close_matches(name, names, n=2, cutoff=0.7)
    remedy = f"Did you mean {' or '.join(similar)}?" if similar else "The verb pipelines lists all names."
    return Failure(failure.message, code=failure.code, remedy=remedy, problem=failure.problem)


def list_tasks(client: Client, screen: Screen, arguments: Namespace) -> ExitCode:
    """Print the tasks that match the filters, newest first."""
    rows, cursor = [], None
    for page in pages_of(client, arguments, limit=arguments.limit):
        rows += page["tasks"]
        cursor = page["next_cursor"]
    if screen.as_json:
        screen.json({"tasks": rows, "next_cursor": cursor})
    elif arguments.quiet:
        for task in rows:
            screen.line(task["id"])
    else:
        screen.table(TASKS, rows, empty="No tasks match.")
    if cursor and not screen.as_json:
        screen.note(f"There are older ones: add --cursor {cursor}, or a larger --limit.")
    return ExitCode.DONE


def pages_of(client: Client, arguments: Namespace, *, limit: int) -> Iterator[dict[str, Any]]:
    """The pages of the list with the newest tasks that match the filters, `limit` tasks in all.

    Raises:
        Failure
    """
    query: dict[str, Any] = {name: getattr(arguments, name) for name in FILTERS}
    query["label"] = [f"{name}:{value}" for name, value in arguments.label]
    query["status"] = ",".join(arguments.status or [])
    cursor = getattr(arguments, "cursor", None)
    while limit > 0:
        try:
            page = client.get("tasks", {**query, "cursor": cursor, "limit": min(limit, PAGE_SIZE)})
        except Failure as failure:
            raise with_similar_names(client, failure, arguments.pipeline or "") from failure
        yield page
        cursor, limit = page["next_cursor"], limit - len(page["tasks"])
        if not cursor:
            return


def show(client: Client, screen: Screen, arguments: Namespace) -> ExitCode:
    """Print a task with its steps; also why it is not running, and what its steps logged."""
    task = client.get(f"tasks/{arguments.id}")
    has_ended = task["finished_at"] is not None
    if arguments.why or not (has_ended or screen.as_json):
        task["why"] = client.get(f"tasks/{arguments.id}/why")
    if screen.as_json:
        screen.json(task)
        return ExitCode.DONE
    screen.details(details_of(task))
    if task["steps"]:
        screen.line("")
        screen.table(STEPS, task["steps"], empty="")
    attempts = sorted(attempts_of(task), key=lambda attempt: attempt["started_at"])
    if attempts:
        screen.line("")
        screen.text("Failed attempts", "bold")
        screen.table(ATTEMPTS, attempts, empty="")
    if "why" in task and not has_ended:
        screen.line("")
        screen.text("Why it is not done", "bold")
        for reason in task["why"]["reasons"]:
            screen.text(reason["sentence"])
    if arguments.logs:
        show_logs(screen, task, attempts)
    return ExitCode.DONE


def details_of(task: dict[str, Any]) -> list[tuple[str, object]]:
    error, worker = task["error"], task["worker"]
    return [
        ("Task", task["id"]),
        ("Pipeline", task["pipeline"]),
        ("Status", task["status"]),
        ("Error", error and error_text(error)),
        ("Reason", task["cancel_reason"]),
        ("Key", task["key"]),
        ("Labels", ", ".join(f"{name}={value}" for name, value in task["labels"].items())),
        ("Priority", task["priority"] or None),
        ("Callback", task["callback_url"]),
        ("Progress", task["progress_note"]),
        ("Created", local_time(task["created_at"])),
        ("Started", local_time(task["started_at"])),
        ("Finished", local_time(task["finished_at"])),
        ("Retried", local_time(task["retried_at"])),
        ("Next run", local_time(task["next_run_at"])),
        ("Took", duration(task["started_at"], task["finished_at"])),
        ("Worker", worker and f"{worker['host']}:{worker['pid']}"),
        ("Rerun of", task["rerun_of"]),
        ("Event", task["event"]),
        ("Payload", shortened(task["payload"])),
        ("Result", None if task["result"] is None else shortened(task["result"])),
    ]


def shortened(value: object) -> str:
    """A value as JSON for people."""
    text = json_text(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}… (--json has all {len(text):,} characters)"


def attempts_of(task: dict[str, Any]) -> list[dict[str, Any]]:
    return [*task["attempts"], *(attempt for step in task["steps"] for attempt in step["attempts"])]


def show_logs(screen: Screen, task: dict[str, Any], attempts: list[dict[str, Any]]) -> None:
    logs = [(f"{each['step'] or 'body'}, attempt {each['number']}", each["logs"]) for each in attempts]
    logs += [(step["key"], step["logs"]) for step in task["steps"]]
    logs = [(where, log) for where, log in logs if log]
    if not logs:
        screen.note("Nothing was logged.")
    for where, log in logs:
        screen.line("")
        screen.text(f"Log of {where}", "bold")
        if log["dropped"]:
            screen.text(f"(older lines that were not kept: {log['dropped']:,})")
        for line in log["lines"]:
            screen.line(f"{line['after_ms'] / 1000:8.3f} s  {line['level']:<8} {line['logger']}: {line['text']}")


def note_of(task: dict[str, Any]) -> str:
    return error_text(task["error"]) if task["error"] else task["progress_note"]


def steps_text(task: dict[str, Any]) -> str:
    return f"{task['steps_done']}/{max(task['steps_known'], task['steps_done'])}"


TASKS: Final = (
    Column("ID", lambda task: task["id"]),
    Column("STATUS", lambda task: task["status"]),
    Column("CREATED", lambda task: short_time(task["created_at"]), at=MEDIUM),
    Column("PIPELINE", lambda task: task["pipeline"], cut=True),
    Column("STEPS", steps_text, at=WIDE),
    Column("TOOK", lambda task: duration(task["started_at"], task["finished_at"]), at=WIDE, right=True),
    Column("NOTE", note_of, at=WIDE, cut=True),
)
STEPS: Final = (
    Column("STEP", lambda step: step["key"]),
    Column("STATUS", lambda step: step["status"]),
    Column("FAILURES", lambda step: step["failures"], right=True),
    Column("STARTED", lambda step: short_time(step["started_at"]), at=WIDE),
    Column("TOOK", lambda step: duration(step["started_at"], step["finished_at"]), right=True),
    Column("OUTPUT", lambda step: json_text(step["output"]) if step["status"] == "succeeded" else "", cut=True),
)
ATTEMPTS: Final = (
    Column("STEP", lambda attempt: attempt["step"] or "body"),
    Column("NO", lambda attempt: attempt["number"], right=True),
    Column("OUTCOME", lambda attempt: attempt["outcome"]),
    Column("FINISHED", lambda attempt: short_time(attempt["finished_at"]), at=WIDE),
    Column("ERROR", lambda attempt: f"{attempt['error_type']}: {attempt['error_message']}", cut=True),
)
