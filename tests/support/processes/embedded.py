"""An embedded server with its own data directory, and real processes that use it."""

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import sysconfig
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from taskqueue.embedded.data_directory import DataDirectory
from tests.support.waiting import eventually

DEADLINE = 30.0
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as two users")


class ClientError(Exception):
    pass


class Client:
    """A process that uses the database."""

    def __init__(self, arguments: Any, *, uid: int | None, python: str) -> None:
        self.process = subprocess.Popen(
            [python, str(Path(__file__).with_name("embedded_client.py")), json.dumps(arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": our_packages()},
            user=uid,
            group=uid,
            extra_groups=None if uid is None else [],
            start_new_session=True,
        )

    def ask(self, expression: str) -> Any:
        self.send(expression)
        return self.receive()

    def sql(self, query: str) -> Any:
        return self.ask(f"sql({query!r})")

    def send(self, expression: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(expression + "\n")
        self.process.stdin.flush()

    def receive(self) -> Any:
        assert self.process.stdout is not None
        answer = json.loads(self.process.stdout.readline())
        if "error" in answer:
            raise ClientError(answer["error"])
        return answer["value"]

    def leave(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(DEADLINE)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def kill(self) -> None:
        """Kill the whole process group, as a closed terminal does."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.leave()


class Instance:
    """One data directory, in a path with a space, and its clients."""

    def __init__(self, home: Path, *, uid: int | None = None, python: str = sys.executable) -> None:
        self.home = home
        self.python = python
        self.uid = uid
        self.directory = DataDirectory(home / "the data")
        self.clients: list[Client] = []

    def client(self, *, keep_seconds: float = 0.2, name: str = "tasks") -> Client:
        embedded = {"data_dir": str(self.directory.root)}
        database = {"ENGINE": "taskqueue.embedded", "NAME": name, "EMBEDDED": embedded}
        client = Client([database, keep_seconds], uid=self.uid, python=self.python)
        self.clients.append(client)
        return client

    def server(self) -> psutil.Process:
        """The main process of the running server."""
        return psutil.Process(int((self.directory.pgdata / "postmaster.pid").read_text().split("\n")[0]))

    def supervisor(self) -> psutil.Process:
        supervisor = self.server().parent()
        assert supervisor is not None
        return supervisor

    def has_stopped(self) -> bool:
        """Whether neither supervisor nor server is running."""
        ours = {str(self.directory.root), str(self.directory.pgdata)}
        return not any(ours & set(command_of(process)) for process in psutil.process_iter())

    def close(self) -> None:
        for client in self.clients:
            if client.process.poll() is None:
                client.kill()
        with suppress(AssertionError):
            eventually(self.has_stopped)
        shutil.rmtree(self.home)


def command_of(process: psutil.Process) -> list[str]:
    with suppress(psutil.Error):
        return process.cmdline()
    return []


def make_home(uid: int | None) -> Path:
    home = Path(tempfile.mkdtemp(prefix="embedded ", dir="/tmp"))  # root's tmp_path is closed to the server's user
    home.chmod(0o755)
    if uid is not None:
        os.chown(home, uid, uid)
    return home


def our_packages() -> str:
    return os.pathsep.join(filter(None, [sysconfig.get_path("purelib"), os.environ.get("PYTHONPATH")]))


def find_python(uid: int) -> str | None:
    """A Python of this version that this user may run with the installed packages, or None."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for python in (sys.executable, shutil.which(name, path="/usr/local/bin:/usr/bin")):
        with suppress(OSError, subprocess.CalledProcessError):
            command = [python or name, "-c", "import psycopg, django"]
            environment = {"PYTHONPATH": our_packages()}
            subprocess.run(command, user=uid, check=True, cwd="/", env=environment, capture_output=True)
            return python
    return None


def modes_above(path: Path) -> dict[str, int]:
    return {str(parent): stat.S_IMODE(parent.stat().st_mode) for parent in path.parents}
