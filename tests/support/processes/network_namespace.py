"""Another machine, for a worker that shall be lost with it: a network namespace of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import pytest


class Machine:
    """A network namespace, and the cable to it.

    Attributes:
        host: where this machine can be reached from there.
        within: put before a command, it runs there.
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
        """Nothing arrives there or comes from there any more, and nobody is told."""
        run(*self.within, "ip", "link", "set", "tq0", "down")

    def plug_in(self) -> None:
        """The cable is back."""
        run(*self.within, "ip", "link", "set", "tq0", "up")

    def remove(self) -> None:
        """Take it away, with the cable."""
        run("ip", "netns", "delete", self.name)


@contextmanager
def another_machine() -> Iterator[Machine]:
    """One for a test. Where there is none to be had the test is skipped, but not where everything has to be shown."""
    if shutil.which("ip") is None:
        go_without("There is no `ip` command. Install iproute2.")
    try:
        machine = Machine()
    except subprocess.CalledProcessError as error:
        go_without(f"No network namespace could be made. Run as root. {error.stderr.decode().strip()}")
    try:
        yield machine
    finally:
        machine.remove()


def go_without(reason: str) -> NoReturn:
    """Skip this test; fail it on a machine that says with CI that it has what is needed."""
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def run(*words: str) -> None:
    """Run a command to its end."""
    subprocess.run(words, check=True, capture_output=True)
