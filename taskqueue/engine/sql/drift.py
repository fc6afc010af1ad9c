"""The statement that reads what a task's steps were called with."""

from __future__ import annotations

from typing import Final

LOAD_INPUTS: Final = """
SELECT key, input::text FROM taskqueue_step
WHERE task_id = %(task)s::uuid AND (%(keys)s::text[] IS NULL OR key = ANY (%(keys)s::text[]))
"""
