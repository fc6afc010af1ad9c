"""Runs the Procfile's processes with honcho, prints a greeting once the web server answers, and stops all of them.

The processes also end when this supervisor is killed.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from datetime import timedelta
from functools import partial
from multiprocessing import Process, parent_process
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener

from django.conf import settings
from environ import Env
from honcho import manager as honcho
from honcho import process as honcho_process
from honcho.environ import parse_procfile

from taskqueue.conf import settings as taskqueue_settings
from taskqueue.pool.orphans import die_with

WITHOUT_PROXY = build_opener(ProxyHandler({}))
"""For this machine's own web server, whatever proxy the environment names."""

BODY = '{"pipeline": "demo/task", "payload": {"label": "hello"}}'
GREETING = """
  taskqueue is running.

    Admin    {site}/admin/     {login}
    API      {site}/api/docs
    Try      curl -X POST {site}/api/tasks -H 'Content-Type: application/json' -d '{body}'
    Edit     a Python file: web and worker reload by themselves
    Stop     Ctrl-C
"""


class Program(honcho_process.Process):  # type: ignore[misc]  # honcho has no types
    """A line of the Procfile. honcho runs it as the child of a process that is forked from this one."""

    def run(self, *arguments: Any, **options: Any) -> None:
        """Run the program until it or the supervisor ends."""
        die_with_parent()
        self._child_ctor = partial(honcho_process.Popen, preexec_fn=partial(die_with, os.getpid()))
        super().run(*arguments, **options)


def die_with_parent() -> None:
    if parent := parent_process():
        die_with(parent.pid or 0)


def supervise(*, port: int, login: str) -> int:
    """Run web and workers until a signal comes or one of them ends. Returns the exit code."""
    # honcho kills processes this long after a stop. Its default of five seconds is too short for a running step.
    honcho.KILL_WAIT = (taskqueue_settings().STOP_GRACE + timedelta(seconds=5)).total_seconds()
    supervisor = honcho.Manager()
    supervisor._process_ctor = Program
    reloads = Env().bool("RELOAD", default=True)
    for name, command in parse_procfile((settings.BASE_DIR / "Procfile").read_text()).processes.items():
        # gunicorn.conf.py reads RELOAD itself.
        reload = " --reload" if reloads and name == "worker" else ""
        supervisor.add_process(name, f"{command}{reload}", env=environment(port), cwd=str(settings.BASE_DIR))
    stop_on_hangup()
    Process(target=greet, kwargs={"site": f"http://127.0.0.1:{port}", "login": login}, daemon=True).start()
    supervisor.loop()
    stopped_by_hand = supervisor.returncode in {128 + signal.SIGINT, 128 + signal.SIGTERM}
    return 0 if stopped_by_hand else supervisor.returncode or 1


def environment(port: int) -> dict[str, str]:
    """Return the environment of the processes: this one's with the port, and this Python first on PATH."""
    scripts = str(Path(sys.executable).parent)
    path = os.pathsep.join([scripts, os.environ.get("PATH", os.defpath)])
    return {**os.environ, "PATH": path, "PORT": str(port), "DEBUG": "true", "PYTHONUNBUFFERED": "1"}


def stop_on_hangup() -> None:
    """Handle a closed terminal like Ctrl-C. The processes have sessions of their own and would go on running."""
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as it is under nohup
        signal.signal(signal.SIGHUP, lambda *_: os.kill(os.getpid(), signal.SIGTERM))


def greet(*, site: str, login: str) -> None:
    die_with_parent()
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_DFL)
    while not answers(f"{site}/api/health/live"):
        time.sleep(0.2)
    print(GREETING.format(site=site, login=login, body=BODY), flush=True)  # noqa: T201 - this process's whole purpose


def answers(address: str) -> bool:
    """Whether a web server listens there, with any status."""
    try:
        with WITHOUT_PROXY.open(address, timeout=5):
            return True
    except HTTPError:
        return True
    except OSError:
        return False
