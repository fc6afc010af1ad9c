"""A TCP proxy between workers and their database that can cut, delay and refuse connections."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

LONGEST_WAIT = 0.05


class Proxy:
    """Passes all data on, until a test tells it otherwise.

    Attributes:
        port: where it listens.
    """

    def __init__(self, target: int | str) -> None:
        self._target = target
        self._silent, self._spoken = threading.Event(), threading.Event()
        self._refusing = False
        self._closed = False
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._ended: list[tuple[socket.socket, socket.socket]] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._start(self._accept)

    def cut(self) -> None:
        """Close all connections, as a restarted router does."""
        pairs, self._pairs = self._pairs, []
        for each in (side for pair in pairs for side in pair):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self._ended += pairs

    def fall_silent(self) -> None:
        """Keep all connections, and pass no data on."""
        self._silent.set()

    def refuse(self) -> None:
        """Close all connections, and each new one at once."""
        self._refusing = True
        self.cut()

    def refuse_new(self) -> None:
        """Keep all connections, and close each new one at once."""
        self._refusing = True

    def go_on(self) -> None:
        """Pass data on again, including the data held back meanwhile."""
        self._refusing = False
        self._silent.clear()

    def close(self) -> None:
        self._closed = True
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self.cut()
        for thread in self._threads:
            thread.join()
        self._listener.close()
        for each in (side for pair in self._ended for side in pair):
            each.close()

    def _start(self, target: Callable[..., None], *sides: socket.socket) -> None:
        thread = threading.Thread(target=target, args=sides, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._refusing:
                client.close()
                continue
            try:
                server = reached(self._target)
            except OSError:
                client.close()
                continue
            self._pairs.append((client, server))
            for one, other in ((client, server), (server, client)):
                self._start(self._pass_on, one, other)

    def _pass_on(self, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while data := one.recv(65_536):
                while self._silent.is_set() and not self._closed:
                    self._spoken.wait(LONGEST_WAIT)
                other.sendall(data)
        for each in (one, other):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


def reached(target: int | str) -> socket.socket:
    """A connection to a port of this machine, or to the socket at this path."""
    if isinstance(target, int):
        return socket.create_connection(("127.0.0.1", target))
    server = socket.socket(socket.AF_UNIX)
    server.connect(target)
    return server


@contextmanager
def proxied(target: int | str) -> Iterator[Proxy]:
    proxy = Proxy(target)
    try:
        yield proxy
    finally:
        proxy.close()
