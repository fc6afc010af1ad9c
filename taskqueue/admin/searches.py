"""What the search box of the task list finds: ids and keys, from their beginning, so that an index answers."""

from __future__ import annotations

import re
from uuid import UUID

from django.db.models import Q

HELP = "Finds ids and keys that begin with what you type; capital and small letters differ in keys."

HEX = re.compile(r"[0-9a-f]{1,32}")


def found_by(term: str) -> Q:
    """The tasks that a search term means."""
    term = term.strip()
    by_key = Q(key__startswith=term) & ~Q(key="")  # the second half is the index's own condition
    begin = term.replace("-", "").lower()
    if not HEX.fullmatch(begin):
        return by_key
    return by_key | Q(id__gte=UUID(begin.ljust(32, "0")), id__lte=UUID(begin.ljust(32, "f")))
