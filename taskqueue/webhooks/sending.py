"""Send one request to a checked IP address, with a time limit for all of it. Redirects and proxies are not followed."""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any, Final

from taskqueue.webhooks.addresses import Target, parse_address, resolve

TIMEOUT: Final = 15.0
"""Seconds for one attempt: connection, request and answer."""
ANSWER_MAX_BYTES: Final = 1000
"""How much of an answer's body is read."""


@dataclass(frozen=True)
class Answer:
    """A receiver's answer.

    Attributes:
        retry_after: seconds that it asks to wait; None when it names no time.
        text: the beginning of its body.
    """

    status: int
    reason: str
    retry_after: float | None
    location: str
    text: str


def post(address: str, body: bytes, headers: Mapping[str, str], *, allow_private: bool) -> Answer:
    """Post a JSON body.

    The name is resolved here, and the connection goes to the address that was checked: a name that resolves to another
    address a moment later (DNS rebinding) changes nothing.

    Raises:
        RefusedAddress: the address, or what its name resolves to, must not be called.
        OSError, http.client.HTTPException: there was no answer, or no valid one.
    """
    deadline = time.monotonic() + TIMEOUT
    target = parse_address(address, allow_private=allow_private)
    with connect(target, resolve(target, allow_private=allow_private), deadline) as connection:
        connection.settimeout(time_left(deadline))
        connection.sendall(request_bytes(target, body, headers))
        return read_answer(connection, deadline)


def connect(target: Target, addresses: list[str], deadline: float) -> socket.socket:
    """A connection to the first of these addresses that accepts one."""
    errors: list[OSError] = []
    for address in addresses:
        try:
            plain = socket.create_connection((address, target.port), timeout=time_left(deadline))
        except OSError as error:
            errors.append(error)
            continue
        if not target.is_tls:
            return plain
        try:
            plain.settimeout(time_left(deadline))
            return tls_context().wrap_socket(plain, server_hostname=target.host)
        except BaseException:
            plain.close()
            raise
    raise errors[0]


@cache
def tls_context() -> ssl.SSLContext:
    return ssl.create_default_context()


def request_bytes(target: Target, body: bytes, headers: Mapping[str, str]) -> bytes:
    fields = {
        "Host": target.authority,
        "User-Agent": "taskqueue",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Connection": "close",
        **headers,
    }
    lines = [f"POST {target.target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
    return "\r\n".join(lines).encode("ascii") + body


def read_answer(connection: socket.socket, deadline: float) -> Answer:
    """The answer. A body that does not arrive in time, or breaks off, does not change its status."""
    stream: Any = TimedSocket(connection, deadline)
    response = http.client.HTTPResponse(stream, method="POST")
    try:
        response.begin()
        try:
            text = (
                response.read(ANSWER_MAX_BYTES).decode("utf-8", "replace").replace("\x00", "\N{REPLACEMENT CHARACTER}")
            )
        except (OSError, http.client.HTTPException):
            text = ""
        after = retry_after(response.getheader("Retry-After", ""))
        return Answer(response.status, response.reason, after, response.getheader("Location", ""), text)
    finally:
        response.close()


class TimedSocket(io.RawIOBase):
    """A socket of which each read ends at the deadline, for a receiver that sends a byte now and then."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self.connection, self.deadline = connection, deadline

    def makefile(self, _mode: str) -> io.BufferedReader:
        """What `HTTPResponse` reads from."""
        return io.BufferedReader(self)

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read what has arrived.

        Raises:
            TimeoutError: the deadline has passed.
        """
        self.connection.settimeout(time_left(self.deadline))
        return self.connection.recv_into(buffer)


def time_left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError(f"no answer within {TIMEOUT:g} s")
    return left


def retry_after(value: str) -> float | None:
    """The seconds of a Retry-After header, which has seconds or a date; None for neither."""
    if value.isascii() and value.isdigit():
        return float(value[:10])
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() - time.time(), 0.0)
