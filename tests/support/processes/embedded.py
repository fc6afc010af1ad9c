"""A data directory in a path with a space, and real processes that use it."""

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

import pytest

from taskqueue.embedded.keeper import Postmaster, find_postmaster
from taskqueue.embedded.location import Layout
from tests.support.waiting import eventually

DEADLINE = 30.0
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as two users")


class Refused(Exception):
    """What a visitor raised."""


class Visitor:
    """One process that uses the database."""

    def __init__(self, database: dict[str, Any], *, uid: int | None, python: str) -> None:
        self.process = subprocess.Popen(
            [python, str(Path(__file__).with_name("visitor.py")), json.dumps(database)],
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
            raise Refused(answer["error"])
        return answer["value"]

    def leave(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(DEADLINE)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def kill(self) -> None:
        """As a closed terminal or an impatient supervisor does: the whole process group."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.leave()


class House:
    """One data directory and its visitors."""

    def __init__(self, home: Path, *, uid: int | None = None, python: str = sys.executable) -> None:
        self.home = home
        self.python = python
        self.uid = uid
        self.layout = Layout(home / "the data")
        self.visitors: list[Visitor] = []

    def visit(self, *, grace: float = 0.2, name: str = "tasks") -> Visitor:
        database = {
            "ENGINE": "taskqueue.embedded",
            "NAME": name,
            "EMBEDDED": {"data_dir": str(self.layout.root), "grace": grace},
        }
        visitor = Visitor(database, uid=self.uid, python=self.python)
        self.visitors.append(visitor)
        return visitor

    def server(self) -> Postmaster | None:
        """The server that is alive right now."""
        return find_postmaster(str(self.layout.pgdata))

    def running_server(self) -> Postmaster:
        postmaster = self.server()
        assert postmaster is not None
        return postmaster

    def keeper(self) -> int:
        """The process that holds the keeper's lock."""
        inode = self.layout.keeper_lock.stat().st_ino
        for line in Path("/proc/locks").read_text().splitlines():
            fields = line.split()
            if fields[1] == "FLOCK" and fields[3] == "WRITE" and fields[5].endswith(f":{inode}"):
                return int(fields[4])
        raise AssertionError("no keeper")

    def has_stopped(self) -> bool:
        return self.server() is None and not (self.layout.pgdata / "postmaster.pid").exists()

    def close(self) -> None:
        for visitor in self.visitors:
            if visitor.process.poll() is None:
                visitor.kill()
        with suppress(AssertionError):
            eventually(self.has_stopped)
        shutil.rmtree(self.layout.socket_directory, ignore_errors=True)
        shutil.rmtree(self.home)


def make_home(uid: int | None) -> Path:
    home = Path(tempfile.mkdtemp(prefix="house ", dir="/tmp"))  # root's tmp_path is closed to the server's user
    home.chmod(0o755)
    if uid is not None:
        os.chown(home, uid, uid)
    return home


def our_packages() -> str:
    return os.pathsep.join(filter(None, [sysconfig.get_path("purelib"), os.environ.get("PYTHONPATH")]))


def find_python(uid: int) -> str | None:
    """A Python of our version that this user may run with our packages; root's own is often in root's home."""
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
