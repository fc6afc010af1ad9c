"""The client over HTTP. It needs an address and, unless the service is a local one in DEBUG, a token."""

from __future__ import annotations

import json
import time
from http.client import HTTPException
from typing import Any, Final, NoReturn
from urllib.parse import urlencode, urlsplit
from urllib.request import HTTPErrorProcessor, Request, build_opener

from taskqueue.cli.client import Answer, Client, ExitCode, Failure, Query, Unavailable

TIMEOUT: Final = 20.0
"""Seconds for the service to answer, in addition to the time that a request asks it to wait."""
MAX_THROTTLED: Final = 20
"""How often a request that the token's rate refuses is sent again."""


class EveryStatus(HTTPErrorProcessor):
    """Returns an answer whatever its status.

    So no redirect is followed: it could lead the token to another host, and turns a POST into a GET.
    """

    def http_response(self, request: Request, response: Any) -> Any:
        return response

    https_response = http_response


class HttpClient(Client):
    """Calls the API of a service.

    Args:
        url: the address of the service, or with a path the address of its API.
        token: the secret of a token; empty for none.

    Raises:
        Failure: one of them cannot be used.
    """

    remedies = {
        "login-required": "Set TASKQUEUE_TOKEN or pass --token. `manage.py token create` makes a token.",
        "invalid-token": "Check TASKQUEUE_TOKEN or --token. `manage.py token list` shows the tokens that are valid.",
        "not-allowed": "The permissions of a token are those of its user; a superuser grants them in the admin.",
        "not-permitted": "The pipeline has permissions of its own: Pipeline permissions in the admin.",
    }

    def __init__(self, url: str, token: str) -> None:
        self.api = api_address(url)
        if not (token.isascii() and token.isprintable()):
            raise Failure("The token has characters that no token has.", code=ExitCode.USAGE)
        self._headers = {
            "Accept": "application/json",
            "Content-Type": "application/json",
            "User-Agent": "taskqueue-cli",
        }
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._opener = build_opener(EveryStatus)

    def send(self, method: str, path: str, *, query: Query, body: object, seconds: float) -> Answer:
        address = f"{self.api}/{path}" + (f"?{urlencode(query, doseq=True)}" if query else "")
        data = None if body is None else json.dumps(body).encode()
        # The constructor has checked the scheme.
        request = Request(address, data, self._headers, method=method)  # noqa: S310
        for _ in range(MAX_THROTTLED):
            answer, retry_after = self._open(request, TIMEOUT + seconds)
            if answer.status != 429:
                return answer
            time.sleep(retry_after)  # a throttled request has done nothing, so it may be sent again
        return self._open(request, TIMEOUT + seconds)[0]

    def _open(self, request: Request, timeout: float) -> tuple[Answer, float]:
        try:
            with self._opener.open(request, timeout=timeout) as response:
                status, raw, headers = response.status, response.read(), response.headers
        except (HTTPException, OSError) as error:
            self._raise_unreachable(request, getattr(error, "reason", error))
        if 300 <= status < 400:
            target = headers.get("Location", "another address")
            raise Failure(f"{request.full_url} redirects to {target}.", code=ExitCode.USAGE, remedy=ADDRESS)
        retry_after = headers.get("Retry-After", "")
        return Answer(status, self._parsed(raw, status, request)), float(retry_after) if retry_after.isdecimal() else 1

    def _parsed(self, raw: bytes, status: int, request: Request) -> Any:
        """The body of an answer; a proxy in front of the service may send another one than JSON."""
        try:
            return json.loads(raw)
        except ValueError:
            message = f"{request.full_url} answered {status}, and not with JSON."
            if status >= 500:
                raise Unavailable(message) from None
            raise Failure(message, code=ExitCode.USAGE, remedy=ADDRESS) from None

    def _raise_unreachable(self, request: Request, cause: object) -> NoReturn:
        unknown = "" if request.method == "GET" else " It may have received the request: check before you repeat it."
        reason = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
        raise Unavailable(f"The service at {self.api} did not answer: {reason}.{unknown}", remedy=ADDRESS)


FORM: Final = (
    "TASKQUEUE_URL or --url: the address of the service, such as https://tasks.example.com, or with a path that of its "
    "API, such as https://example.com/queue/api."
)
ADDRESS: Final = f"Check {FORM}"


def api_address(url: str) -> str:
    """The address of the API.

    Raises:
        Failure: the text is no address, or there is none.
    """
    if not url:
        raise Failure("There is no service to call.", code=ExitCode.USAGE, remedy=f"Set {FORM}")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment:
        raise Failure(f"{url!r} is not an address of a service.", code=ExitCode.USAGE, remedy=ADDRESS)
    return url.rstrip("/") if parts.path.strip("/") else f"{parts.scheme}://{parts.netloc}/api"
