"""Whether a subscription wants the end of a task, as a condition in other statements."""

from __future__ import annotations

from typing import Final

# Of a task in the table `task`, whatever its end will be. A subscription may be newer than the task: the trigger of the
# table decides at the end (0001_initial), and this only saves waiting for a sweep.
IS_SUBSCRIBED: Final = """EXISTS (
            SELECT FROM taskqueue_subscription subscription WHERE subscription.disabled_at IS NULL
                AND task.labels @> subscription.labels AND taskqueue_covers(subscription.pipelines, task.pipeline_id)
        )"""
