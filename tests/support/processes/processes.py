"""Real processes for tests: started in a session of their own, and killed at the end."""

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
    """A temporary directory that the database server's user can enter."""
    with tempfile.TemporaryDirectory(prefix="taskqueue-test-", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        directory.chmod(0o755)
        yield directory


@contextmanager
def running(command: Sequence[str | Path], *, env: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command in the project's top folder, and kill it with all its children at the end."""
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
    """A port on which no process listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def http_status(address: str) -> int | None:
    """The HTTP status of an address, or None when no server listens there."""
    try:
        with urlopen(address, timeout=60) as response:  # noqa: S310 - a server of ours
            return int(response.status)
    except HTTPError as error:
        return error.code
    except (URLError, TimeoutError, ConnectionError):
        return None
