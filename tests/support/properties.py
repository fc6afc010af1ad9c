"""How many examples a property test tries: an eighth in `make test`, all of them in `make test-all`."""

from __future__ import annotations

from hypothesis import settings


def examples(number: int) -> int:
    """The number for `max_examples`: an eighth, at least four; under the Hypothesis profile `thorough` all of them."""
    thorough = settings.get_current_profile_name() == "thorough"
    return number if thorough else max(4, number // 8)
