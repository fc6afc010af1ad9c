"""The rate that the demo's pipelines share."""

from __future__ import annotations

from datetime import timedelta

from taskqueue import Rate

DEMO_API = Rate(10, per=timedelta(seconds=1), burst=5, name="demo-api")
"""The simulated services accept ten calls a second, from all pipelines together."""
