"""How many examples a property test tries: an eighth in `make test`, half of them in `make test-all`."""

from __future__ import annotations

from hypothesis import settings


def examples(number: int) -> int:
    """The number for `max_examples`: an eighth, at least four; under the Hypothesis profile `thorough` half."""
    thorough = settings.get_current_profile_name() == "thorough"
    return max(4, number // (2 if thorough else 8))
