"""A client of server-sent events."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPResponse
from typing import Any, NamedTuple


class Event(NamedTuple):
    name: str
    id: str
    data: Any


class EventStream:
    """An open stream.

    Attributes:
        status: the status of the answer.
        comments: the comments that were received so far.
    """

    def __init__(self, response: HTTPResponse) -> None:
        self._response = response
        self.status = response.status
        self.content_type = response.headers["Content-Type"]
        self.comments = 0

    def __iter__(self) -> Iterator[Event]:
        """The events, until the server closes the stream."""
        fields: dict[str, str] = {}
        while line := self._response.readline():
            name, _colon, value = line.decode().rstrip("\n").partition(": ")
            if line != b"\n":
                fields[name] = value
                self.comments += name == ""
                continue
            if "event" in fields:
                yield Event(fields["event"], fields["id"], json.loads(fields["data"]))
            fields = {}

    def until(self, name: str) -> list[Event]:
        """The next events up to the first of this name."""
        found: list[Event] = []
        for event in self:
            found.append(event)
            if event.name == name:
                return found
        raise AssertionError(f"the stream closed without the event {name}, after {found}")


@contextmanager
def following(port: int, path: str, **headers: str) -> Iterator[EventStream]:
    """Open a stream. After the block its connection is cut."""
    lines = [f"GET {path} HTTP/1.1", "Host: localhost", "Accept: text/event-stream"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    with socket.create_connection(("127.0.0.1", port), timeout=120) as caller:
        caller.sendall("\r\n".join([*lines, "", ""]).encode())
        with HTTPResponse(caller) as response:
            response.begin()
            yield EventStream(response)
