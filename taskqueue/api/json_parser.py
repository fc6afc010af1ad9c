"""Request bodies: JSON only, limited in size, with nothing that cannot be stored."""

from __future__ import annotations

import re
from collections.abc import Mapping
from io import BytesIO
from typing import Any, Final, TypeVar

from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, UnreadablePostError
from django.urls import reverse
from pydantic import BaseModel, ValidationError
from rest_framework.parsers import BaseParser
from rest_framework.request import Request

from taskqueue.api.problems import Kind, Refusal
from taskqueue.conf import settings
from taskqueue.errors import FieldError
from taskqueue.json_values import codec, strict

ESCAPE_FACTOR: Final = 3
"""How much longer a text can get when it is written with \\u escapes instead of UTF-8."""
ENVELOPE_BYTES: Final = 64 * 1024
"""Room for everything but the payload: key, labels and other options at their largest."""
Model = TypeVar("Model", bound=BaseModel)
NUL_OR_SURROGATE = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")


class StrictJsonParser(BaseParser):
    """Parses JSON strictly (see `json_values.strict`)."""

    media_type = "application/json"
    setting = "PAYLOAD_MAX_BYTES"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Mapping[str, Any] | None = None) -> Any:
        """Read the body; refused is also text that PostgreSQL cannot store, with a pointer to each."""
        raw = read_limited(stream, self.limit(), setting=self.setting)
        try:
            value = strict.parse(raw.decode())
        except UnicodeDecodeError as error:
            raise Refusal(
                Kind.MALFORMED_BODY, f"The body is not UTF-8: byte {error.start} cannot be decoded."
            ) from error
        except strict.InvalidJson as error:
            raise Refusal(Kind.MALFORMED_BODY, str(error)) from error
        if NUL_OR_SURROGATE.search(raw) and (errors := list(codec.storage_errors(value))[:20]):
            raise Refusal(Kind.NOT_SERIALIZABLE, f"The body cannot be stored: {errors[0].detail}.", errors)
        return value

    def limit(self) -> int:
        return ESCAPE_FACTOR * settings().PAYLOAD_MAX_BYTES + ENVELOPE_BYTES


class BatchParser(StrictJsonParser):
    """Parses a batch of tasks, which may be larger than one task."""

    setting = "BATCH_MAX_BYTES"

    def limit(self) -> int:
        return max(super().limit(), settings().BATCH_MAX_BYTES)


def parse_body(model: type[Model], body: Any) -> Model:
    """The body as an instance of its model; a refusal has a pointer to each error."""
    try:
        return model.model_validate(body)
    except ValidationError as error:
        errors = codec.field_errors(error)
        raise Refusal(
            Kind.INVALID_BODY, f"The request body is not valid: {errors[0].pointer or '/'}: {errors[0].detail}.", errors
        ) from error


def refuse_list(body: Any) -> Any:
    if isinstance(body, list):
        batch = reverse("taskqueue:task-batches")
        sentence = f'The body is a list; this endpoint creates one task. Did you mean POST {batch} {{"tasks": [...]}}?'
        raise Refusal(Kind.INVALID_BODY, sentence, [FieldError("", sentence)])
    return body


def refuse_compressed(request: HttpRequest | Request) -> None:
    encoding = request.META.get("HTTP_CONTENT_ENCODING", "").strip()
    if request.method in {"POST", "PATCH"} and encoding.lower() not in {"", "identity"}:
        raise Refusal(
            Kind.UNSUPPORTED_ENCODING,
            f"The request has Content-Encoding {encoding}, and compressed bodies are not supported. "
            "Send it uncompressed, without this header.",
        )


def buffer_chunked_body(request: HttpRequest, limit: int) -> None:
    """Read a chunked body, up to one byte over the limit, and give the request its length, which Django needs."""
    if isinstance(request, ASGIRequest):
        stream = request._stream  # Django has buffered all of it
    elif request.META.get("wsgi.input_terminated"):
        stream = request.META["wsgi.input"]
    else:
        raise Refusal(
            Kind.MALFORMED_REQUEST, "Send the body with a Content-Length: this server does not support chunked bodies."
        )
    body = BytesIO()
    try:
        while body.tell() <= limit and (chunk := stream.read(limit + 1 - body.tell())):
            body.write(chunk)
    except OSError as error:
        raise Refusal(Kind.MALFORMED_REQUEST, "The chunked body was cut off.") from error
    request.META["CONTENT_LENGTH"] = str(body.tell())
    body.seek(0)
    request._stream = body  # Django reads from here


def read_limited(stream: Any, limit: int, *, setting: str) -> bytes:
    """The body's bytes. Never holds more than one byte over the limit in memory."""
    try:
        raw: bytes = stream.read(limit + 1)
    except UnreadablePostError as error:
        raise Refusal(Kind.MALFORMED_REQUEST, "The body ended before its Content-Length.") from error
    if len(raw) > limit:
        raise Refusal(Kind.TOO_LARGE, f"The request body is larger than {limit:,} bytes (see the setting {setting}).")
    return raw
