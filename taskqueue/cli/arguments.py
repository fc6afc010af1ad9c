"""The arguments of the command line: each verb with its help, its options and examples."""

from __future__ import annotations

import argparse
from argparse import ArgumentParser
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from taskqueue.cli import values

EXIT_CODES: Final = """\
exit codes:
  0    done; with watch and submit --wait: the tasks have succeeded
  1    refused by the service, or a task failed or was cancelled
  2    wrong use: an argument, the address or a missing setting
  3    not found: a task or a pipeline
  4    not allowed: no valid token, or a missing permission
  5    the service or its database did not answer
  124  the tasks have not ended within --timeout
  130  stopped by Ctrl-C; the tasks continue"""

ID: Final = "019a2b3c-4d5e-7f60-8192-a3b4c5d6e7f8"
SWITCH: Final[dict[str, Any]] = {"action": "store_true"}
PAYLOAD: Final[dict[str, Any]] = {"type": values.payload, "default": {}, "metavar": "JSON"}
DURATION: Final[dict[str, Any]] = {"type": values.duration, "metavar": "DURATION"}
LABEL: Final[dict[str, Any]] = {"type": values.label, "action": "append", "default": [], "metavar": "NAME=VALUE"}

OPTIONS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "NAME": ("The name of the pipeline, such as demo/task.", {}),
    "[NAME]": ("Show this one: its steps, its schedule, and an example of a payload.", {"nargs": "?"}),
    "ID": ("The id of the task.", {"type": values.task_id}),
    "IDS": ("The ids of the tasks.", {"type": values.task_id, "nargs": "+", "metavar": "ID"}),
    "WORKERS": ("The ids of the workers.", {"type": values.at_least_one, "nargs": "+", "metavar": "WORKER"}),
    "ACTION": ("What to do.", {"choices": ["retry", "cancel", "run-now"]}),
    "--payload": ("The input: JSON, @FILE, or - for stdin (default: {}).", PAYLOAD),
    "--key": ("Idempotency key: a second request with it returns the same task.", {}),
    "--force": ("Create a new task even if the key was used before.", SWITCH),
    "--priority": ("Seconds by which it is queued ahead of tasks of the same age.", {"type": int, "metavar": "N"}),
    "--run-at": ("When it may start: a time, or a duration from now.", {"type": values.moment(1), "metavar": "TIME"}),
    "--label": ("A label of the task; may be repeated.", LABEL),
    "--callback-url": ("An https address that is called when the task has ended.", {"metavar": "URL"}),
    "--wait": ("Wait for the end, and print the result.", SWITCH),
    "--timeout": ("Wait for the end, at most so long: 90s, 15m, 2h (default: for ever).", DURATION),
    "--limit": ("How many tasks at most (default: %(default)s).", {"type": values.at_least_one, "metavar": "N"}),
    "--cursor": ("Continue where an earlier list ended.", {}),
    "--quiet": ("Print only ids, one a line.", SWITCH),
    "--why": ("Also why it is not running; without --json this is the default until it has ended.", SWITCH),
    "--logs": ("Also what its steps logged; --json always has it.", SWITCH),
    "--from-step": ("The key of a step that runs again, with all steps after it.", {"metavar": "KEY"}),
    "--reason": ("Why the tasks are cancelled; shown with them.", {}),
    "--dry-run": ("Only show what would be done.", SWITCH),
    "--yes": ("Do not ask.", SWITCH),
}
"""The arguments of all verbs."""

FILTERS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "--pipeline": ("Tasks of this pipeline.", {"metavar": "NAME"}),
    "--status": ("In this status, or in one of a,b,c.", {"type": values.statuses, "action": "extend"}),
    "--key": ("With this idempotency key.", {}),
    "--label": ("With this label; may be repeated.", LABEL),
    "--created-after": ("A time, or a duration before now such as 2h.", {"type": values.moment(-1), "metavar": "TIME"}),
    "--created-before": ("A time or a duration, as before.", {"type": values.moment(-1), "metavar": "TIME"}),
    "--ended-after": ("A time or a duration, as before.", {"type": values.moment(-1), "metavar": "TIME"}),
    "--ended-before": ("A time or a duration, as before.", {"type": values.moment(-1), "metavar": "TIME"}),
    "--pipeline-prefix": ("Tasks of pipelines whose names begin with this.", {}),
    "--subject": ("Tasks about this object, such as shop.order:7.", {}),
    "--error": ("Tasks with this type of error, of the task or of an attempt.", {"metavar": "TYPE"}),
    "--error-text": ("Tasks with this text in such an error.", {}),
    "--took-at-least": ("Tasks that took so long or longer.", {"type": values.seconds, "metavar": "DURATION"}),
    "--took-less-than": ("Tasks that took less.", {"type": values.seconds, "metavar": "DURATION"}),
}


class Verb(NamedTuple):
    """A verb.

    Attributes:
        function: the module and the function that execute it; the module is imported when it is needed.
        help: what it does.
        arguments: names in OPTIONS.
        examples: arguments after its name.
        has_filters: whether it takes FILTERS.
        defaults: values of arguments that differ from those of OPTIONS.
    """

    function: str
    help: str
    arguments: str
    examples: Sequence[str]
    has_filters: bool = False
    defaults: dict[str, Any] = {}


VERBS: Final = {
    "submit": Verb(
        "tasks.submit",
        "Submit a task; prints its id, or with --wait its result.",
        "NAME --payload --key --force --priority --run-at --label --callback-url --wait --timeout",
        [
            """demo/task --payload '{"label": "hello"}'""",
            "demo/task --payload @request.json --key order-42 --label tenant=acme",
            "demo/task --run-at 15m",
            "demo/task --wait --timeout 5m",
        ],
    ),
    "list": Verb(
        "tasks.list_tasks",
        "List tasks, newest first.",
        "--limit --cursor --quiet",
        [
            "--status failed,retrying --created-after 2h",
            "--pipeline demo/task --label tenant=acme --json",
            "--status failed --quiet --limit 500",
            "--error-text 'connection refused' --ended-after 1d",
        ],
        has_filters=True,
        defaults={"limit": 50},
    ),
    "show": Verb(
        "tasks.show",
        "Show a task with its steps and failed attempts, and why it is not running.",
        "ID --why --logs",
        [ID, f"{ID} --logs", f"{ID} --why --json"],
    ),
    "watch": Verb(
        "watching.watch",
        "Follow tasks until they have ended.",
        "IDS --timeout",
        [ID, f"{ID} --timeout 10m --json"],
    ),
    "retry": Verb(
        "actions.act",
        "Queue failed or cancelled tasks again; their finished steps are kept.",
        "IDS --from-step",
        [ID, f"{ID} --from-step charge"],
        defaults={"action": "retry"},
    ),
    "cancel": Verb(
        "actions.act",
        "Cancel tasks that have not ended, with their parallel steps and children.",
        "IDS --reason",
        [f"{ID} --reason 'Wrong customer'"],
        defaults={"action": "cancel"},
    ),
    "run-now": Verb(
        "actions.act",
        "Let scheduled, retrying or sleeping tasks continue at once.",
        "IDS",
        [ID],
        defaults={"action": "run-now"},
    ),
    "change": Verb(
        "actions.act",
        "Change the priority, the start or the labels of tasks that have not ended.",
        "IDS --priority --run-at --label",
        [f"{ID} --priority 60", f"{ID} --run-at 2h", f"{ID} --label tenant=acme --label env=test"],
        defaults={"action": "change"},
    ),
    "bulk": Verb(
        "actions.bulk",
        "Retry, cancel or run now all tasks that match filters, after a preview and a question.",
        "ACTION --reason --limit --dry-run --yes",
        [
            "retry --pipeline demo/task --created-after 1d",
            "cancel --label tenant=acme --reason 'Contract ended' --yes",
            "retry --status failed,cancelled --pipeline demo/task --dry-run",
        ],
        has_filters=True,
        defaults={"limit": 1_000},
    ),
    "pipelines": Verb(
        "listings.pipelines", "List pipelines with their numbers, or show one.", "[NAME]", ["", "demo/task"]
    ),
    "schedules": Verb("listings.listing", "List cron schedules, the next run first.", "", ["", "--json"]),
    "workers": Verb("listings.listing", "List the workers that have not ended.", "", ["", "--json"]),
    "drain": Verb(
        "workers.drain_or_resume",
        "Drain workers: they finish their tasks and take no others; the verb workers lists their ids.",
        "WORKERS",
        ["7 8"],
    ),
    "resume": Verb("workers.drain_or_resume", "Let drained workers take tasks again.", "WORKERS", ["7 8"]),
}
SHORT: Final = {"--quiet": "-q", "--yes": "-y"}


def add_verbs(parser: ArgumentParser, *, parents: Sequence[ArgumentParser] = ()) -> None:
    """Add all verbs to a parser.

    Args:
        parents: have options that each verb takes, too.
    """
    subparsers: Any = parser.add_subparsers(dest="verb", required=True, metavar="VERB", title="verbs")
    for name, verb in VERBS.items():
        subparser = subparsers.add_parser(
            name,
            help=verb.help,
            description=verb.help,
            epilog="\n".join(["examples:", *(f"  %(prog)s {example}".rstrip() for example in verb.examples)]),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            parents=parents,
        )
        for argument in verb.arguments.split():
            add_argument(subparser, argument, *OPTIONS[argument])
        if verb.has_filters:
            filters = subparser.add_argument_group("filters", "A task must match all of them.")
            for argument, described in FILTERS.items():
                add_argument(filters, argument, *described)
        subparser.add_argument("--json", action="store_true", dest="as_json", help="Print JSON; times are in UTC.")
        subparser.set_defaults(function=verb.function, **verb.defaults)


def add_argument(to: Any, name: str, text: str, details: dict[str, Any]) -> None:
    if name.startswith("-"):
        names = [SHORT[name], name] if name in SHORT else [name]
        to.add_argument(*names, help=text, **(details if "action" in details else {"metavar": "TEXT"} | details))
    else:
        plain = name.strip("[]")
        to.add_argument(plain.lower(), help=text, **{"metavar": plain, **details})
