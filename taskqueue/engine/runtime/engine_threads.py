"""Which threads of a worker process are the engine's own, and which worker an event loop's thread belongs to."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

ENGINE_THREADS: Final = "taskqueue-"
"""How the names of the engine's own threads begin."""

_loop_threads: dict[int, int] = {}
"""The threads of event loops, each with the thread of the worker that waits for it."""


def is_engine_thread(name: str | None) -> bool:
    """Whether a thread of this name is the main thread or another one of the engine's own."""
    return name is not None and (name == threading.main_thread().name or name.startswith(ENGINE_THREADS))


@contextmanager
def event_loop_of(worker: int) -> Iterator[None]:
    """Note that the calling thread runs an event loop for a worker, whose thread has this ident."""
    loop = threading.get_ident()
    _loop_threads[loop] = worker
    try:
        yield
    finally:
        del _loop_threads[loop]


def threads_of(worker: int) -> list[int]:
    """The idents of a worker's thread, of its event loop's, and of those that author code may have started for it."""
    names = {each.ident: each.name for each in threading.enumerate()}
    others = {loop for loop, its_worker in _loop_threads.items() if its_worker != worker}
    rest = [
        ident
        for ident, name in names.items()
        if ident is not None and ident != worker and ident not in others and not is_engine_thread(name)
    ]
    return [worker, *rest]
