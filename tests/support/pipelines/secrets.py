"""A payload with secrets for tests of redaction."""

from __future__ import annotations

import logging

from pydantic import BaseModel, Field, SecretStr

PASSWORD, CARD = "correct-horse-battery", "4111-1111-1111"
logger = logging.getLogger("tests.secrets")


class Login(BaseModel):
    user: str
    password: SecretStr
    card: str = Field(default=CARD, json_schema_extra={"secret": True})
    fail: str = ""
