"""`manage.py worker --reload`: a parent that starts the worker again when a Python file of the project changes.

Django's own reloader runs a command in a thread, where it could not take the signals that stop a worker in good order.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable

from taskqueue.pool.cluster import Signals
from taskqueue.pool.project_files import ProjectFiles
from taskqueue.pool.shared_memory import STOP

LOOK_EVERY = 0.5
WITHOUT_RELOAD = "--no-reload"
DIE_WITH = "--die-with"


def run(signals: Signals, say: Callable[[str], None]) -> int:
    """Run the worker in a child process until a signal comes, and in a new child after each change of the code.

    A worker that ends by itself before the first change ends this process too. One that ends by itself after a change
    is started again after the next change.

    Returns:
        The exit code to leave with.
    """
    files, worker = ProjectFiles(), Worker(signals)
    worker.start()
    changed_once = told = False
    while not STOP.wait(LOOK_EVERY):
        code = worker.exit_code()
        if code is not None and not changed_once:
            return code
        if changed := files.changed():
            if fault := files.syntax_error():
                say(f"{fault} The worker is not restarted until this is corrected.")
                continue
            say(f"{changed} has changed: restarting the worker.")
            worker.stop()
            if not STOP.is_set():
                worker.start()
            changed_once, told = True, False
        elif code is not None and not told:
            say(f"The worker ended with code {code}, and starts again after the next change of a Python file.")
            told = True
    return worker.stop() if worker.exit_code() is None else 0


class Worker:
    """The child, in a process group of its own: it gets a signal from this process alone, and so only once."""

    def __init__(self, signals: Signals) -> None:
        self._signals = signals
        self._command = [sys.executable, *sys.orig_argv[1:], WITHOUT_RELOAD, DIE_WITH, str(os.getpid())]

    def start(self) -> None:
        """Run this process's own command again, without its reload."""
        self._process = subprocess.Popen(self._command, process_group=0)  # noqa: S603 - it started this process too

    def exit_code(self) -> int | None:
        """None while it runs; after a death by a signal the number that a shell gives it."""
        code = self._process.poll()
        return code if code is None or code >= 0 else 128 - code

    def stop(self) -> int:
        """Stop it by SIGTERM, and by one more where this process has got a second signal. Its exit code."""
        self._process.terminate()
        while self._process.poll() is None:
            try:
                self._process.wait(0.1)
            except subprocess.TimeoutExpired:
                if self._signals.impatient:
                    self._process.terminate()
        # Killed by the signal, it had not come so far as to take a task.
        return 0 if self._process.returncode == -signal.SIGTERM else self.exit_code() or 0
