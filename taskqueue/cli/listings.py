"""The verbs pipelines, schedules and workers."""

from __future__ import annotations

from argparse import Namespace
from typing import Any, Final
from urllib.parse import quote

from taskqueue.cli.client import Client, ExitCode, Failure
from taskqueue.cli.screen import WIDE, Column, Screen, json_text, local_time, seconds_text, short_time
from taskqueue.cli.tasks import with_similar_names
from taskqueue.queues import TakenQueues


def pipelines(client: Client, screen: Screen, arguments: Namespace) -> ExitCode:
    """Print all pipelines, or the details of one."""
    if not arguments.name:
        return listing(client, screen, arguments)
    name = arguments.name
    try:
        found = client.get(f"pipelines/{quote(name, safe='')}")
    except Failure as failure:
        raise with_similar_names(client, failure, name) from failure
    if screen.as_json:
        screen.json(found)
        return ExitCode.DONE
    schedule, stats = found["schedule"], found["stats"]
    screen.details(
        [
            ("Pipeline", found["name"]),
            ("Description", found["description"]),
            ("Queue", found["queue"]),
            ("Paused", paused_text(found["paused"])),
            ("Schedule", schedule and f"{schedule['expression']} ({schedule['timezone']})"),
            ("Next run", local_time(schedule["next_at"]) if schedule else ""),
            ("Steps", ", ".join(step["name"] for step in found["steps"])),
            ("Unfinished", ", ".join(f"{stats[each]} {each}" for each in UNFINISHED if stats[each]) or "none"),
            ("Last day", last_day_text(stats["last_day"])),
            ("Example", "" if found["payload_example"] is None else json_text(found["payload_example"])),
        ]
    )
    return ExitCode.DONE


def listing(client: Client, screen: Screen, arguments: Namespace) -> ExitCode:
    """Print all pipelines, schedules or workers."""
    found = client.get(arguments.verb)
    if screen.as_json:
        screen.json(found)
    else:
        columns, empty = TABLES[arguments.verb]
        screen.table(columns, found[arguments.verb], empty=empty)
    return ExitCode.DONE


UNFINISHED: Final = ("scheduled", "queued", "running", "waiting", "retrying")


def paused_text(paused: dict[str, Any] | None) -> str:
    return "" if paused is None else f"since {local_time(paused['at'])} by {paused['by'] or '-'}: {paused['reason']}"


def last_day_text(day: dict[str, Any]) -> str:
    counts = f"{day['succeeded']:,} succeeded, {day['failed']:,} failed, {day['cancelled']:,} cancelled"
    return counts if day["p50_seconds"] is None else f"{counts}; median {seconds_text(day['p50_seconds'])}"


def queues_text(worker: dict[str, Any]) -> str:
    queues = TakenQueues(tuple(worker["queues"]), tuple(worker["not_queues"]))
    return "all" if queues.takes_all else str(queues)


def counted(*statuses: str) -> Any:
    """A function that counts the unfinished tasks of a pipeline in these statuses."""
    return lambda pipeline: sum(pipeline["stats"][status] for status in statuses) or ""


def ended(status: str) -> Any:
    return lambda pipeline: pipeline["stats"]["last_day"][status] or ""


PIPELINES: Final = (
    Column("PIPELINE", lambda pipeline: pipeline["name"]),
    Column("QUEUE", lambda pipeline: pipeline["queue"]),
    Column("STATE", lambda pipeline: "paused" if pipeline["paused"] else "active"),
    Column("QUEUED", counted("queued"), right=True),
    Column("RUNNING", counted("running"), right=True),
    Column("WAITING", counted("scheduled", "waiting", "retrying"), right=True),
    Column("DONE 24H", ended("succeeded"), right=True, at=WIDE),
    Column("FAILED 24H", ended("failed"), right=True, at=WIDE),
    Column("MEDIAN", lambda each: seconds_text(each["stats"]["last_day"]["p50_seconds"]), right=True, at=WIDE),
)
SCHEDULES: Final = (
    Column("PIPELINE", lambda schedule: schedule["pipeline"]),
    Column("STATE", lambda schedule: "paused" if schedule["paused"] else "active"),
    Column("CRON", lambda schedule: schedule["expression"]),
    Column("ZONE", lambda schedule: schedule["timezone"]),
    Column("NEXT RUN", lambda schedule: short_time(schedule["next_at"])),
    Column("LAST RUN", lambda schedule: short_time(schedule["last_at"]), at=WIDE),
)
WORKERS: Final = (
    Column("WORKER", lambda worker: worker["name"]),
    Column("ID", lambda worker: worker["id"], right=True),
    Column("STATE", lambda worker: worker["state"]),
    Column("BUSY", lambda worker: f"{worker['executing']}/{worker['slots']}", right=True),
    Column("QUEUES", queues_text),
    Column("STEP", lambda worker: worker["step"], cut=True),
    Column("TASK", lambda worker: worker["task"], at=WIDE),
    Column("HEARTBEAT", lambda worker: short_time(worker["heartbeat_at"]), at=WIDE),
    Column("VERSION", lambda worker: worker["version"], at=WIDE),
)
TABLES: Final = {
    "pipelines": (PIPELINES, "No deployed code has defined a pipeline."),
    "schedules": (SCHEDULES, "No pipeline has a schedule."),
    "workers": (WORKERS, "No worker is running. `manage.py worker` starts one."),
}
