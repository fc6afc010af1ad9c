"""The processes of a benchmark: real workers and a real web server, on free ports."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
PROCESSES = 2
"""Of a worker command, on this project's settings."""
ENVIRONMENT = {**os.environ, "DJANGO_SETTINGS_MODULE": "benchmarks.settings", "WORKERS": str(PROCESSES)}


def wait_for(condition: Callable[[], object], *, seconds: float = 60, every: float = 0.02) -> None:
    """Return when the condition holds.

    Raises:
        TimeoutError: it does not hold in time.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{getattr(condition, '__name__', condition)} is not true after {seconds} s")
        time.sleep(every)


@contextmanager
def started(*command: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a session of its own, within a with block. What it prints would tear the table apart."""
    process = subprocess.Popen(
        command, cwd=ROOT, env={**ENVIRONMENT, **environment}, start_new_session=True, stdout=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextmanager
def workers(threads: int | None = None) -> Iterator[int]:
    """`manage.py worker` with two processes and so many threads each, or the default, ready to work. Yields its pid."""
    from benchmarks.pipelines import one_step
    from taskqueue.models import Task

    options = () if threads is None else ("--threads", str(threads))
    with started(sys.executable, "manage.py", "worker", *options) as command:
        task = one_step.enqueue(0)
        wait_for(lambda: Task.objects.filter(pk=task.pk, status="succeeded").exists())
        yield command.pid


class WebServer(NamedTuple):
    """A web server that runs."""

    address: str
    pid: int


@contextmanager
def web(*, debug: bool, asynchronous: bool = False) -> Iterator[WebServer]:
    """The web server of gunicorn.conf.py, or one process under ASGI, on a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    gunicorn = str(Path(sys.executable).parent / "gunicorn")
    command = ["demo.asgi", "--worker-class", "asgi", "--workers", "1"] if asynchronous else ["demo.wsgi"]
    with started(gunicorn, *command, PORT=str(port), BENCHMARKS_DEBUG=str(debug), RELOAD="false") as server:
        wait_for(lambda: answers(port))
        yield WebServer(f"http://127.0.0.1:{port}", server.pid)


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
