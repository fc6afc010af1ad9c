"""Real processes for tests: started in a session of their own, waited for, and never left behind."""

import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import psutil

ROOT = Path(__file__).parents[3]


@contextmanager
def open_directory() -> Iterator[Path]:
    """A temporary directory that a database server can enter; as root's it runs as another user."""
    with tempfile.TemporaryDirectory(prefix="taskqueue-test-", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        directory.chmod(0o755)
        yield directory


@contextmanager
def running(command: Sequence[str | Path], *, env: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command from the project's top level; it and all that it started are killed when they are left over."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=dict(env), stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            started = psutil.Process(process.pid)
            for member in [started, *started.children(recursive=True)]:
                member.kill()
            process.wait()


def free_port() -> int:
    """A port on which nothing listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def answer_of(address: str) -> int | None:
    """The status with which an address answers, None when nothing listens there."""
    try:
        with urlopen(address, timeout=60) as response:  # noqa: S310 - a server of ours
            return int(response.status)
    except HTTPError as error:
        return error.code
    except (URLError, TimeoutError, ConnectionError):
        return None
