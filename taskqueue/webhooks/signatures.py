"""Signatures of Standard Webhooks (https://www.standardwebhooks.com)."""

from __future__ import annotations

import base64
import hmac
import secrets
from collections.abc import Iterable
from typing import Final

PREFIX: Final = "whsec_"
SECRET_BYTES: Final = 32
SECRET_SIZES: Final = range(24, 65)


def new_secret() -> str:
    """A random secret, as receivers configure it."""
    return PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def is_secret(text: str) -> bool:
    """Whether a text is a secret of 24 to 64 bytes, as the specification wants it."""
    try:
        key = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except ValueError:
        return False
    return text.startswith(PREFIX) and len(key) in SECRET_SIZES


def signed_headers(message: str, timestamp: int, body: bytes, signing_secrets: Iterable[str]) -> dict[str, str]:
    """The headers of a signed request.

    Args:
        message: the id of the message, the same for each attempt.
        timestamp: of this attempt, in seconds since 1970.
        signing_secrets: one signature is made with each; receivers accept the request if one of them fits.
    """
    content = b"%s.%d.%s" % (message.encode(), timestamp, body)
    signatures = [signature(content, secret) for secret in signing_secrets]
    return {"webhook-id": message, "webhook-timestamp": str(timestamp), "webhook-signature": " ".join(signatures)}


def signature(content: bytes, secret: str) -> str:
    key = base64.b64decode(secret.removeprefix(PREFIX))
    return f"v1,{base64.b64encode(hmac.digest(key, content, 'sha256')).decode()}"
