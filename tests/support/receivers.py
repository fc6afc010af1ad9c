"""A local HTTP server that receives webhooks, and answers as the test says."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ssl import SSLContext
from typing import Any

Answer = Callable[[BaseHTTPRequestHandler], None]


@dataclass(frozen=True)
class Received:
    """A request."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> Any:
        return json.loads(self.body)


@dataclass
class Receiver:
    """The server.

    Attributes:
        answers: used up one by one; the last one stays.
        requests: what it has received.
    """

    port: int
    answers: list[Answer]
    requests: list[Received] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)
    """Set at the end of the test, for answers that hang."""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"


def status(code: int, text: str = "", **headers: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(text.encode())))
        handler.end_headers()
        handler.wfile.write(text.encode())

    return answer


@contextmanager
def receiver(*answers: Answer, tls: SSLContext | None = None) -> Iterator[Receiver]:
    """A running server on a free port of the loopback interface; without answers it accepts everything."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            found.requests.append(Received(self.path, headers, body))
            answer = found.answers[0] if len(found.answers) == 1 else found.answers.pop(0)
            try:
                answer(self)
            except OSError:
                self.close_connection = True  # the sender did not wait

        def log_message(self, *_arguments: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    found = Receiver(server.server_address[1], list(answers) or [status(204)])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield found
    finally:
        found.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


def is_signed_with(request: Received, secret: str) -> bool:
    """Check a signature as a receiver does, by the text of the specification."""
    headers = request.headers
    content = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + request.body
    digest = hmac.new(base64.b64decode(secret.split("_")[1]), content, hashlib.sha256).digest()
    signatures: Sequence[str] = headers["webhook-signature"].split(" ")
    return f"v1,{base64.b64encode(digest).decode()}" in signatures
