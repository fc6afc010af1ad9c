"""Stacks of author code: taken from a running process, or left in a crash dump for the recovery of its tasks."""

from __future__ import annotations

import os
import socket
import sys
import tempfile
import time
import traceback
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Final, TextIO

from taskqueue.engine.runtime.engine_threads import threads_of
from taskqueue.engine.runtime.failures import PACKAGE, TEXT_MAX_LENGTH
from taskqueue.json_values.codec import printable
from taskqueue.models import Worker

OLD: Final = 24 * 3600.0
"""Seconds after which no process reports a crash any more."""


def author_stack(thread: int, *, with_event_loop: bool) -> str:
    """The present stack of a worker's thread, from the first frame of author code on.

    Args:
        thread: its ident.
        with_event_loop: also the stacks of its event loop's thread, and of threads that author code has started.
    """
    frames = sys._current_frames()
    threads = threads_of(thread) if with_event_loop else [thread]
    stacks = [author_frames(frames[ident]) for ident in threads if ident in frames]
    return printable("\n".join("".join(stack) for stack in stacks if stack))[-TEXT_MAX_LENGTH:]


def author_frames(frame: FrameType) -> list[str]:
    """A stack without the engine's frames at its base; unchanged when it has none."""
    return without_engine_frames(list(reversed(traceback.StackSummary.extract(traceback.walk_stack(frame)))))


def without_engine_frames(outermost_first: list[traceback.FrameSummary]) -> list[str]:
    ours = [number for number, each in enumerate(outermost_first) if each.filename.startswith(PACKAGE)]
    return traceback.format_list(outermost_first[ours[-1] + 1 :] if ours else outermost_first)


def crash_dump_file() -> TextIO:
    """The file for faulthandler, which writes this process's stack when Python code can no longer run; else stderr."""
    return new_crash_dump(os.getpid())


@cache  # a forked child needs a file of its own
def new_crash_dump(pid: int) -> TextIO:
    path = crash_dump_path(pid)
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        path.unlink(missing_ok=True)
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w")
    except OSError:
        return sys.stderr


def delete_old_crash_dumps() -> None:
    """Delete what dead processes have left whose parents have died too, or could not reach the database."""
    with suppress(OSError):
        for path in crash_dump_path(0).parent.glob("*.stack"):
            if time.time() - path.stat().st_mtime > OLD and not is_alive(int(path.stem)):
                path.unlink(missing_ok=True)


def delete_crash_dump() -> None:
    with suppress(OSError):
        crash_dump_path(os.getpid()).unlink(missing_ok=True)


def read_crash_dump(worker: int, *, removes: bool = False) -> str:
    """The stack that a dead worker of this machine has left; empty if there is none.

    Only the parent of the dead process removes the file. Any other process may be faster than the parent, which alone
    knows which task the crashed thread executed.
    """
    row = Worker.objects.filter(pk=worker).values_list("host", "pid").first()
    if row is None or row[0] != socket.gethostname():
        return ""
    path = crash_dump_path(row[1])
    try:
        if path.stat().st_uid != os.getuid() or is_alive(row[1]):
            return ""
        text = path.read_text(errors="replace")
        if removes:
            path.unlink()
    except OSError:
        return ""
    return printable(with_crashed_thread_first(text))[:TEXT_MAX_LENGTH]


def with_crashed_thread_first(dump: str) -> str:
    """A dump whose first stack is that of the thread that crashed: faulthandler writes the main thread last."""
    first, _, rest = dump.partition("\n")
    sections = rest.strip("\n").split("\n\n")
    sections.sort(key=lambda section: not section.startswith("Current thread 0x"))
    return "\n\n".join([first, *sections]) + "\n" if rest else dump


def is_alive(pid: int) -> bool:
    """Whether a process has this id: then the file belongs to a later process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def crash_dump_path(pid: int) -> Path:
    """The file of one process, in a folder that only this user can read."""
    return Path(tempfile.gettempdir()) / f"taskqueue-{os.getuid()}" / f"{pid}.stack"
