"""File locks that the kernel frees when their holder dies, however it dies."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from django.db import OperationalError

from taskqueue.embedded.keeper import is_same_file

PATIENCE = timedelta(seconds=120)


@dataclass(frozen=True)
class Share:
    """A share of a lock, which forked processes have with us and started programs have not."""

    descriptor: int
    identity: tuple[int, int]

    def is_of(self, path: Path) -> bool:
        return is_same_file(self.descriptor, str(path))

    def release(self) -> None:
        # A process that makes itself a daemon closes what it finds open, and the number may be another file's by now.
        with suppress(OSError):
            if identify(self.descriptor) == self.identity:
                os.close(self.descriptor)


def share(path: Path) -> Share:
    """Take a share of this lock, waiting while somebody holds it alone."""
    descriptor = acquire(path, fcntl.LOCK_SH)
    return Share(descriptor, identify(descriptor))


def identify(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


@contextmanager
def hold(path: Path) -> Iterator[int]:
    """Hold this lock alone."""
    descriptor = acquire(path, fcntl.LOCK_EX)
    try:
        yield descriptor
    finally:
        # Said, not left to close: a process forked meanwhile has a copy of the descriptor.
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def is_held(path: Path) -> bool:
    """Whether some process holds this lock alone."""
    try:
        descriptor = open_lock(path)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def acquire(path: Path, mode: int) -> int:
    deadline = time.monotonic() + PATIENCE.total_seconds()
    while True:
        descriptor = open_lock(path)
        try:
            fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
        else:
            if is_same_file(descriptor, str(path)):
                return descriptor
            os.close(descriptor)  # The data directory was replaced between opening and locking.
        if time.monotonic() > deadline:
            raise OperationalError(
                f"Waited {PATIENCE} for {path}, which another process holds: the embedded PostgreSQL neither "
                "starts nor stops. See which process has that file open, and end it."
            )
        time.sleep(0.02)


def open_lock(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
