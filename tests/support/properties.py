"""The number of examples of a property test: a twelfth in `make test`, a third in `make test-thorough`."""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, settings


def examples(number: int) -> int:
    """The number for `max_examples`: a twelfth, at least three; under the Hypothesis profile `thorough` a third."""
    thorough = settings.get_current_profile_name() == "thorough"
    return max(3, number // (3 if thorough else 12))


def quick_settings(number: int) -> settings:
    """Settings of a property test whose examples each take long: always the same examples, and none is shrunk."""
    return settings(
        max_examples=examples(number),
        derandomize=True,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        # Shrinking a failing example would take minutes.
        phases=(Phase.explicit, Phase.generate),
    )
