"""Receivers in this machine's own network."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture
def private_receivers(settings: Any) -> None:
    """Allow calls to private addresses."""
    settings.TASKQUEUE = {**settings.TASKQUEUE, "WEBHOOKS_ALLOW_PRIVATE": True}
