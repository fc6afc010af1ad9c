"""A local SMTP server that receives mail."""

from __future__ import annotations

import email
import email.policy
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Any

import django


@dataclass
class MailReceiver:
    """The server.

    Attributes:
        refusals: how many messages it refuses for now before it accepts one.
        messages: what it has accepted, each with its recipients.
    """

    port: int
    refusals: int = 0
    messages: list[tuple[list[str], EmailMessage]] = field(default_factory=list)


class Session(socketserver.StreamRequestHandler):
    """One connection. The server has the receiver in `receiver`."""

    def handle(self) -> None:
        self.say("220 ready")
        recipients: list[str] = []
        while line := self.rfile.readline().decode().strip():
            verb = line[:4].upper()
            if verb == "DATA":
                self.receive(recipients)
                continue
            if verb == "RCPT":
                recipients.append(line.partition("<")[2].partition(">")[0])
            self.say("221 bye" if verb == "QUIT" else "250 ok")
            if verb == "QUIT":
                return

    def receive(self, recipients: list[str]) -> None:
        self.say("354 go on")
        lines = list(iter(self.rfile.readline, b".\r\n"))
        receiver = self.server.receiver  # type: ignore[attr-defined]  # `mail_receiver` sets it
        if receiver.refusals:
            receiver.refusals -= 1
            self.say("451 try again later")
            return
        message = email.message_from_bytes(b"".join(lines), policy=email.policy.default)
        receiver.messages.append((recipients, message))
        self.say("250 accepted")

    def say(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())


@contextmanager
def mail_receiver(*, refusals: int = 0) -> Iterator[MailReceiver]:
    """A running server on a free port of the loopback interface."""
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Session)
    server.daemon_threads = True
    found = MailReceiver(server.server_address[1], refusals)
    server.receiver = found  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def use_mail_server(settings: Any, server: MailReceiver) -> None:
    """Let Django send its mail to the receiver."""
    backend = "django.core.mail.backends.smtp.EmailBackend"
    if django.VERSION >= (6, 1):  # which warns of the settings before
        options = {"host": "127.0.0.1", "port": server.port}
        settings.MAILERS = {"default": {"BACKEND": backend, "OPTIONS": options}}
    else:
        settings.EMAIL_BACKEND, settings.EMAIL_HOST, settings.EMAIL_PORT = backend, "127.0.0.1", server.port
    settings.DEFAULT_FROM_EMAIL = "taskqueue@example.com"
