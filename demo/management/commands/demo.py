"""`manage.py demo`: submit tasks that show the main features."""

from __future__ import annotations

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from time import time
from typing import Any
from uuid import uuid4

from django.core.management.base import BaseCommand, CommandError
from django.db import Error
from django.urls import reverse

from demo.pipelines import DemoRequest, demo_task
from demo.ports import port_in_use
from demo.publishing import PublishRequest, publish
from taskqueue import emit
from taskqueue.models import Task

HELP = """\
Submits tasks of the pipelines demo/task and demo/publish in ten calls, and prints their links:
one that succeeds, one that takes 20 seconds, one that fails twice and recovers,
one that fails for good, one that is due in a minute, two calls with one key, one with priority,
one that waits for your approval, and one whose child task fails, so that it compensates.
Workers execute them: `make run` starts some, and so does `manage.py worker`."""


class Command(BaseCommand):
    help = HELP

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> Any:
        return super().create_parser(prog_name, subcommand, formatter_class=RawDescriptionHelpFormatter, **kwargs)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--base-url",
            default="",
            metavar="URL",
            help="where the web server answers; the links begin with it (http://127.0.0.1 and the port of `make run`)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        site = (options["base_url"] or f"http://127.0.0.1:{port_in_use()}").rstrip("/")
        if not site.startswith(("http://", "https://")):
            raise CommandError(f"--base-url must begin with http:// or https://, not {site!r}.")
        try:
            for title, task in submit_examples():
                self.show(site, title, task)
        except Error as error:
            raise CommandError(f"The tasks could not be written: {error} Has `manage.py migrate` been run?") from error
        self.stdout.write(f"\nAll tasks: {site}{reverse('admin:taskqueue_task_changelist')}")

    def show(self, site: str, title: str, task: Task) -> None:
        address = reverse("admin:taskqueue_task_change", args=[task.pk])
        self.stdout.write(f"\n{self.style.MIGRATE_HEADING(title)}")
        self.stdout.write(f"  admin  {site}{address}")
        self.stdout.write(f"  API    {site}/api/tasks/{task.pk}")


def submit_examples() -> Iterator[tuple[str, Task]]:
    """Submit the tasks. Yields what each one shows, with the task."""
    yield "Succeeds", demo_task.enqueue(DemoRequest(label="hello", delay_seconds=0.5))
    yield "Takes 20 seconds: watch its progress", demo_task.enqueue(DemoRequest(label="slow", delay_seconds=20))
    unsteady = DemoRequest(label="unsteady", delay_seconds=0.5, failures_before_success=2)
    yield "Fails twice in demonstrate-retry, then recovers", demo_task.enqueue(unsteady)
    broken = DemoRequest(label="broken", delay_seconds=0.5, simulate_failure=True)
    yield "Fails for good in simulate-api-call", demo_task.enqueue(broken)
    in_a_minute = datetime.fromtimestamp(time(), tz=UTC) + timedelta(minutes=1)
    later = DemoRequest(label="later", delay_seconds=0.5)
    yield "Is due in a minute: it can be cancelled until then", demo_task.using(run_at=in_a_minute).enqueue(later)
    once = demo_task.using(key=f"order-{uuid4().hex[:8]}", labels={"tenant": "acme"})
    order = DemoRequest(label="order", delay_seconds=0.5)
    yield "Has a key", once.enqueue(order)
    again = once.enqueue(order)
    assert again.duplicate  # noqa: S101 - this is the point of the example
    yield "The key is used again: this creates no second task, and returns the first", again
    urgent = DemoRequest(label="urgent", delay_seconds=0.5)
    yield (
        "Has priority 300: runs before tasks that are up to 300 seconds older",
        demo_task.using(priority=300).enqueue(urgent),
    )
    article = f"On waiting {uuid4().hex[:4]}"
    yield (
        "Waits ten minutes for your approval: a form under “Waiting for you” in the admin, or the event demo/approved "
        f'with {{"title": "{article}"}}',
        publish.enqueue(PublishRequest(title=article)),
    )
    jammed = PublishRequest(title=f"On paper {uuid4().hex[:4]}", pages=2, printer_jams=True)
    yield "Is approved at once, but its child task fails: the shelf is released", publish.enqueue(jammed)
    emit("demo/approved", {"title": jammed.title, "by": "the demo"})
