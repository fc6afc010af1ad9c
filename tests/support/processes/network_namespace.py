"""Another machine that a test can cut off: a network namespace."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import pytest


class Machine:
    """A network namespace, and its virtual cable.

    Attributes:
        host: the address of this machine in the namespace.
        within: the prefix of a command that runs in the namespace.
    """

    def __init__(self) -> None:
        number = os.getpid() % 16_000
        self.name = f"tq{number}"
        self._cable = f"tq{number}a"
        network = f"10.{200 + number // 8_000}.{number // 32 % 250}"
        first = number % 32 * 4
        self.host = f"{network}.{first + 1}"
        self.within = ("ip", "netns", "exec", self.name)
        run("ip", "netns", "add", self.name)
        run("ip", "link", "add", self._cable, "type", "veth", "peer", "name", "tq0", "netns", self.name)
        run("ip", "address", "add", f"{self.host}/30", "dev", self._cable)
        run("ip", "link", "set", self._cable, "up")
        run(*self.within, "ip", "address", "add", f"{network}.{first + 2}/30", "dev", "tq0")
        run(*self.within, "ip", "link", "set", "tq0", "up")
        run(*self.within, "ip", "link", "set", "lo", "up")

    def unplug(self) -> None:
        """Drop all packets to and from the namespace, without closing connections."""
        run(*self.within, "ip", "link", "set", "tq0", "down")

    def plug_in(self) -> None:
        """Connect the namespace again."""
        run(*self.within, "ip", "link", "set", "tq0", "up")

    def remove(self) -> None:
        run("ip", "netns", "delete", self.name)


@contextmanager
def another_machine() -> Iterator[Machine]:
    """A namespace for a test. Without the means for it the test is skipped, or fails in CI."""
    if shutil.which("ip") is None:
        skip_or_fail("There is no `ip` command. Install iproute2.")
    try:
        machine = Machine()
    except subprocess.CalledProcessError as error:
        skip_or_fail(f"No network namespace could be made. Run as root. {error.stderr.decode().strip()}")
    try:
        yield machine
    finally:
        machine.remove()


def skip_or_fail(reason: str) -> NoReturn:
    """Skip this test; in CI, which must have all tools, fail it."""
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)
