"""Receivers in this machine's own network."""

from __future__ import annotations

from typing import Any

import pytest

SECRET = "whsec_" + "c2VjcmV0" * 4


@pytest.fixture
def private_receivers(settings: Any) -> str:
    """Allow calls to private addresses; the secret that signs them."""
    settings.TASKQUEUE = {**settings.TASKQUEUE, "WEBHOOKS_ALLOW_PRIVATE": True, "WEBHOOKS_SECRET": SECRET}
    return SECRET
