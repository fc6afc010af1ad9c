"""Stacks of processes that are ended in the middle of a step: taken by themselves, or left for their recovery."""

from __future__ import annotations

import os
import socket
import sys
import tempfile
import threading
import traceback
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Final, TextIO

import taskqueue
from taskqueue.codec import printable
from taskqueue.models import Worker

TEXT_MAX: Final = 32_000
HERE: Final = str(Path(taskqueue.__file__).parent)


def stack_of_the_author(*, all_threads: bool) -> str:
    """Where the working thread stands now, from the author's first frame on.

    Args:
        all_threads: also where the others stand, but for the one that asks: an event loop has a thread of its own.
    """
    frames = sys._current_frames()
    mine, main = threading.get_ident(), threading.main_thread().ident
    threads = [main, *(ident for ident in frames if ident not in (main, mine))] if all_threads else [main]
    stacks = [from_the_author_on(frames[ident]) for ident in threads if ident in frames]
    return printable("\n".join("".join(stack) for stack in stacks if stack))[-TEXT_MAX:]


def from_the_author_on(frame: FrameType) -> list[str]:
    """A stack without what stands below the call of the author's code; whole when there is no such call in it."""
    summary = traceback.StackSummary.extract(traceback.walk_stack(frame))
    outermost_first = list(reversed(summary))
    ours = [number for number, each in enumerate(outermost_first) if each.filename.startswith(HERE)]
    return traceback.format_list(outermost_first[ours[-1] + 1 :] if ours else outermost_first)


def own_file() -> TextIO:
    """Where faulthandler writes this process's stack when no Python code of it runs any more; else to stderr."""
    global _own
    if _own is None or _own[0] != os.getpid():
        path = place_of(os.getpid())
        try:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            path.unlink(missing_ok=True)
            file: TextIO = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w")
        except OSError:
            file = sys.stderr
        _own = (os.getpid(), file)
    return _own[1]


def forget_own_file() -> None:
    """Remove it: this process ends in peace."""
    with suppress(OSError):
        place_of(os.getpid()).unlink(missing_ok=True)


def left_stack_of(worker: int) -> str:
    """The stack that a worker of this machine has left; empty if there is none."""
    row = Worker.objects.filter(pk=worker).values_list("host", "pid").first()
    if row is None or row[0] != socket.gethostname():
        return ""
    path = place_of(row[1])
    try:
        if path.stat().st_uid != os.getuid() or is_alive(row[1]):
            return ""
        text = path.read_text(errors="replace")
        path.unlink()
    except OSError:
        return ""
    return printable(text)[:TEXT_MAX]


def is_alive(pid: int) -> bool:
    """Whether a process of this number exists: the file may be of a worker that came after."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def place_of(pid: int) -> Path:
    """The file of one process, in a folder that is this user's alone."""
    return Path(tempfile.gettempdir()) / f"taskqueue-{os.getuid()}" / f"{pid}.stack"


_own: tuple[int, TextIO] | None = None
