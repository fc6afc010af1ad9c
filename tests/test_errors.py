"""The error tree: stable codes, titles, and a page that explains each of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest

from taskqueue import Permanent, RetryAfter, errors
from taskqueue.errors import DefinitionError, StepFailed, StepTimedOut, TaskNotFound, TaskqueueError, TooLarge

PAGE = (Path(__file__).parents[1] / "docs" / "errors.md").read_text()


def tree(root: type[TaskqueueError] = TaskqueueError) -> Iterator[type[TaskqueueError]]:
    """Every error of taskqueue itself."""
    yield root
    for kind in root.__subclasses__():
        if vars(errors).get(kind.__name__) is kind:
            yield from tree(kind)


CODES = {kind.code: kind for kind in tree()}


def test_every_code_has_a_heading_and_every_heading_a_code():
    headings = re.findall(r"^### `([a-z-]+)`$", PAGE, flags=re.MULTILINE)

    assert len(headings) == len(set(headings))
    assert set(headings) == set(CODES)


def test_every_heading_is_followed_by_the_name_of_its_class():
    for code, kind in CODES.items():
        assert re.search(rf"^### `{code}`\n\n`{kind.__name__}`", PAGE, flags=re.MULTILINE), code


def test_every_error_has_a_code_of_its_own_in_kebab_case():
    kinds = list(tree())

    assert len({kind.code for kind in kinds}) == len(kinds)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", kind.code) for kind in kinds)


def test_every_error_is_in_the_docstring_tree():
    for kind in tree():
        assert errors.__doc__ is not None
        assert kind is errors.InvalidValue or kind.__name__ in errors.__doc__


@pytest.mark.parametrize("kind", list(tree()))
def test_the_title_is_the_first_line_of_the_docstring(kind):
    assert kind.title() == (kind.__doc__ or "").splitlines()[0].removesuffix(".")
    assert kind.title()


def test_an_error_without_detail_has_its_title():
    assert str(errors.InvalidContext()) == "This call is not possible here"


def test_error_messages_have_their_details():
    assert str(DefinitionError("It is wrong.", hint="Do it right.")) == "It is wrong. Do it right."
    assert str(TooLarge("The payload", size=1_234_567, limit=1000, setting="X")) == (
        "The payload is 1,234,567 bytes; the limit is 1,000 (setting X)."
    )
    assert "00000000-0000-0000-0000-000000000001" in str(TaskNotFound(UUID(int=1)))
    assert str(StepFailed("charge", "ValueError", "no")) == "Step 'charge' failed: ValueError: no"
    assert str(StepFailed("charge", "ValueError", "")) == "Step 'charge' failed: ValueError"
    assert isinstance(StepTimedOut("charge", timedelta(seconds=1)), TimeoutError)


def test_permanent_and_retry_after_are_not_taskqueue_errors():
    assert not issubclass(Permanent, TaskqueueError)
    assert not issubclass(RetryAfter, TaskqueueError)


@pytest.mark.parametrize("delay", [timedelta(seconds=-1), timedelta.max])
def test_retry_after_refuses_delays_out_of_range(delay):
    with pytest.raises(ValueError, match=r"between 0 and 3,650 days"):
        RetryAfter(delay)


def test_retry_after_has_its_reason_as_message():
    assert str(RetryAfter(timedelta(seconds=90))) == "retry after 90 s"
    assert str(RetryAfter(timedelta(seconds=90), "busy")) == "busy"
