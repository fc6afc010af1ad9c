"""One request: its signature, its time limit, and answers of every kind."""

from __future__ import annotations

import ssl
import subprocess
import time
from http.client import HTTPException

import pytest

from taskqueue.webhooks import sending
from taskqueue.webhooks.addresses import RefusedAddress
from taskqueue.webhooks.sending import post, retry_after
from taskqueue.webhooks.signatures import new_secret, signature, signed_headers
from tests.support.receivers import is_signed_with, receiver, status

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def test_the_example_of_the_specification():
    content = b'msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{"test": 2432232314}'

    assert signature(content, SECRET) == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def send(address, body=b"{}", secrets=(SECRET,)):
    return post(address, body, signed_headers("id-1", 1614265330, body, secrets), allow_private=True)


def test_a_request_is_signed_with_every_secret():
    secrets = [new_secret(), new_secret()]
    with receiver() as server:
        answer = send(server.address + "?a=1", '{"name":"ä"}'.encode(), secrets)

    (request,) = server.requests
    assert answer.status == 204
    assert (request.path, request.body.decode()) == ("/hook?a=1", '{"name":"ä"}')
    assert request.headers["webhook-id"] == "id-1"
    assert request.headers["host"] == f"127.0.0.1:{server.port}"
    assert [is_signed_with(request, secret) for secret in (*secrets, SECRET)] == [True, True, False]


def test_a_redirect_is_not_followed():
    with receiver() as inner, receiver(status(302, Location=inner.address)) as outer:
        answer = send(outer.address)

    assert (answer.status, answer.location) == (302, inner.address)
    assert inner.requests == []


def test_only_the_beginning_of_an_answer_is_read():
    with receiver(status(500, "x" * 1_000_000)) as server:
        assert send(server.address).text == "x" * 1000


def hang(server):
    return lambda _handler: server.released.wait(60)


def drip(server):
    def answer(handler):
        while not server.released.wait(0.05):
            handler.wfile.write(b"H")

    return answer


@pytest.mark.parametrize("slow", [hang, drip])
def test_a_slow_receiver_ends_at_the_time_limit(slow, monkeypatch):
    monkeypatch.setattr(sending, "TIMEOUT", 0.5)
    with receiver() as server:
        server.answers = [slow(server)]
        began = time.monotonic()
        with pytest.raises((TimeoutError, HTTPException)):
            send(server.address)

        assert time.monotonic() - began < 30
        assert not server.released.is_set()


def test_a_body_that_does_not_arrive_does_not_change_the_status(monkeypatch):
    monkeypatch.setattr(sending, "TIMEOUT", 0.5)

    def begin_only(handler):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        server.released.wait(60)

    with receiver(begin_only) as server:
        assert send(server.address).status == 200


def test_private_addresses_are_refused_at_each_attempt():
    with receiver() as server, pytest.raises(RefusedAddress):
        post(f"https://localhost:{server.port}/", b"{}", {}, allow_private=False)

    assert server.requests == []


@pytest.fixture
def tls(tmp_path, monkeypatch):
    """A server's context for localhost, whose certificate senders trust."""
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "2"]
    command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    sending.tls_context.cache_clear()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    yield context
    sending.tls_context.cache_clear()


def test_the_certificate_is_checked_for_the_name_of_the_address(tls):
    with receiver(tls=tls) as server:
        assert send(f"https://localhost:{server.port}/").status == 204
        assert server.requests[0].headers["host"] == f"localhost:{server.port}"
        with pytest.raises(ssl.SSLCertVerificationError):
            send(f"https://127.0.0.1:{server.port}/")

    assert len(server.requests) == 1


def test_retry_after_has_seconds_or_a_date():
    assert retry_after("120") == 120
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert retry_after("Wed, 21 Oct 2099 07:28:00 GMT") > 1e9
    assert [retry_after(value) for value in ("", "soon", "-5", "1.5")] == [None] * 4
