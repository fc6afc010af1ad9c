"""Request bodies: exactly JSON, no more than fits, and nothing that could not be stored."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping
from io import BytesIO
from typing import Any, Final, NoReturn, TypeVar

from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, UnreadablePostError
from pydantic import BaseModel, ValidationError
from rest_framework.parsers import BaseParser
from rest_framework.request import Request

from taskqueue import codec, nesting
from taskqueue.api.problems import (
    BodyTooLarge,
    InvalidBody,
    MalformedBody,
    MalformedRequest,
    NotSerializableBody,
    UnsupportedEncoding,
)
from taskqueue.conf import settings

ESCAPED: Final = 3
"""How much longer a text may get when it is written with \\u escapes instead of UTF-8."""
ENVELOPE_BYTES: Final = 64 * 1024
"""Room for what stands around the payload: key, labels and the like at their largest."""
Model = TypeVar("Model", bound=BaseModel)
SUSPECT = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")


class StrictJson(BaseParser):
    """Reads JSON as RFC 8259 and I-JSON (RFC 7493) have it: UTF-8, finite numbers, no name twice in one object."""

    media_type = "application/json"
    setting = "PAYLOAD_MAX_BYTES"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Mapping[str, Any] | None = None) -> Any:
        """Read the body.

        Raises:
            BodyTooLarge, MalformedBody
            NotSerializableBody: with a pointer to each text that PostgreSQL would refuse.
        """
        raw = within(stream, self.limit(), setting=self.setting)
        value = decoded(raw)
        if nesting.is_too_deep(value):
            raise MalformedBody(f"The body is nested more than {nesting.DEEPEST} levels deep.")
        if SUSPECT.search(raw) and (faults := list(codec.faults_in(value))[:20]):
            raise NotSerializableBody(f"The body cannot be stored: {faults[0].detail}.", faults)
        return value

    def limit(self) -> int:
        """The bytes that a body may have: those of the largest payload, however it is written."""
        return ESCAPED * settings().PAYLOAD_MAX_BYTES + ENVELOPE_BYTES


class BatchJson(StrictJson):
    """The same for a batch of tasks, which takes more at once; never less than one of them may have."""

    setting = "BATCH_MAX_BYTES"

    def limit(self) -> int:
        """The bytes that a body may have."""
        return max(super().limit(), settings().BATCH_MAX_BYTES)


def fitted(model: type[Model], body: Any) -> Model:
    """The body as its model has it.

    Raises:
        InvalidBody: with a pointer for each fault.
    """
    try:
        return model.model_validate(body)
    except ValidationError as error:
        faults = codec.faults_of(error)
        raise InvalidBody(
            f"The request body does not fit: {faults[0].pointer or '/'}: {faults[0].detail}.", faults
        ) from error


def refuse_compressed(request: HttpRequest | Request) -> None:
    """Refuse a body that would have to be unpacked first.

    Raises:
        UnsupportedEncoding
    """
    encoding = request.META.get("HTTP_CONTENT_ENCODING", "").strip()
    if request.method == "POST" and encoding.lower() not in {"", "identity"}:
        raise UnsupportedEncoding(
            f"The request has Content-Encoding {encoding}, and bodies are not unpacked here. "
            "Send it uncompressed, without this header."
        )


def take_in_chunks(request: HttpRequest, limit: int) -> None:
    """Read a body that came in chunks, and no more of it than shows that it is too large; from here on it has a length.

    Raises:
        MalformedRequest: it is cut off, or the server does not tell where such a body ends.
    """
    if isinstance(request, ASGIRequest):
        stream = request._stream  # all of the body, of which it knows no length
    elif request.META.get("wsgi.input_terminated"):
        stream = request.META["wsgi.input"]
    else:
        raise MalformedRequest("Send the body with a Content-Length: this server does not read one in chunks.")
    body = BytesIO()
    try:
        while body.tell() <= limit and (chunk := stream.read(limit + 1 - body.tell())):
            body.write(chunk)
    except OSError as error:
        raise MalformedRequest("The body in chunks was cut off.") from error
    request.META["CONTENT_LENGTH"] = str(body.tell())
    body.seek(0)
    request._stream = body  # where Django's own reading begins


def within(stream: Any, limit: int, *, setting: str) -> bytes:
    """The body's bytes, of which no more than the limit are ever held."""
    try:
        raw: bytes = stream.read(limit + 1)
    except UnreadablePostError as error:
        raise MalformedRequest("The body ended before its Content-Length.") from error
    if len(raw) > limit:
        raise BodyTooLarge(f"The request body is larger than {limit:,} bytes (see the setting {setting}).")
    return raw


def decoded(raw: bytes) -> Any:
    """The value that the bytes stand for."""
    try:
        return json.loads(
            raw.decode(), parse_constant=refuse_constant, parse_float=finite, object_pairs_hook=without_repetition
        )
    except UnicodeDecodeError as error:
        raise MalformedBody(f"The body is not UTF-8: byte {error.start} cannot be decoded.") from error
    except json.JSONDecodeError as error:
        raise MalformedBody(f"{error.msg}, at line {error.lineno}, column {error.colno}.") from error
    except RecursionError as error:
        raise MalformedBody(f"The body is nested more than {nesting.DEEPEST} levels deep.") from error
    except ValueError as error:
        # What is left is Python's own limit for the digits of an integer.
        raise MalformedBody("The body holds a number with too many digits.") from error


def refuse_constant(name: str) -> NoReturn:
    """Python's reader would take NaN and the infinities."""
    raise MalformedBody(f"{name} is not JSON.")


def finite(text: str) -> float:
    """A number with a fraction or an exponent, unless it is too large for a float: it would be read as infinite."""
    value = float(text)
    if not math.isfinite(value):
        raise MalformedBody(f"The number {text[:40]} is too large.")
    return value


def without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object, in which no name may occur twice: of two values one would be lost in silence."""
    found = dict(pairs)
    if len(found) != len(pairs):
        (repeated, _times), *_rest = Counter(name for name, _value in pairs).most_common(1)
        raise MalformedBody(f"The name {repeated[:200]!r} occurs twice in one object.")
    return found
