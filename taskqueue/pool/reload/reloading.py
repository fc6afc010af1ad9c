"""`manage.py worker --reload`: a parent that restarts the worker when a Python file of the project changes.

Django's own reloader runs a command in a thread, where the command could not handle the signals that stop a worker.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable

from taskqueue.pool.cluster import Signals
from taskqueue.pool.reload.project_files import ProjectFiles
from taskqueue.pool.shared_memory import STOP

POLL_SECONDS = 0.5
WITHOUT_RELOAD = "--no-reload"
DIE_WITH = "--die-with"


def run(signals: Signals, write: Callable[[str], None]) -> int:
    """Run the worker in a child process until a signal comes, and restart it after each change of the code.

    A worker that ends by itself before the first change ends this process too. One that ends by itself after a change
    is restarted after the next change.

    Returns:
        The exit code of the command.
    """
    files, worker = ProjectFiles(), WorkerProcess(signals)
    worker.start()
    has_changed = is_reported = False
    while not STOP.wait(POLL_SECONDS):
        code = worker.exit_code()
        if code is not None and not has_changed:
            return code
        if changed := files.changed():
            if error := files.syntax_error():
                write(f"{error} The worker is not restarted until this is corrected.")
                continue
            write(f"{changed} has changed: restarting the worker.")
            worker.stop()
            if not STOP.is_set():
                worker.start()
            has_changed, is_reported = True, False
        elif code is not None and not is_reported:
            write(f"The worker ended with code {code}. It is restarted after the next change of a Python file.")
            is_reported = True
    return worker.stop() if worker.exit_code() is None else 0


class WorkerProcess:
    """The child, in a process group of its own, so that it gets each signal once, from this process."""

    def __init__(self, signals: Signals) -> None:
        self._signals = signals
        self._command = [sys.executable, *sys.orig_argv[1:], WITHOUT_RELOAD, DIE_WITH, str(os.getpid())]

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, process_group=0)  # noqa: S603 - it started this process too

    def exit_code(self) -> int | None:
        """Return the exit code, as a shell numbers it after a signal, or None while the worker runs."""
        code = self._process.poll()
        return code if code is None or code >= 0 else 128 - code

    def stop(self) -> int:
        """Stop the worker by SIGTERM, and once more if this process gets a second signal. Returns the exit code."""
        self._process.terminate()
        while self._process.poll() is None:
            try:
                self._process.wait(0.1)
            except subprocess.TimeoutExpired:
                if self._signals.stop_at_once:
                    self._process.terminate()
        # A worker that SIGTERM killed had not yet installed its handlers, and held no task.
        return 0 if self._process.returncode == -signal.SIGTERM else self.exit_code() or 0
