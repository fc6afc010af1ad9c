"""An invalid definition is refused at import, with a hint."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group
from pydantic import BaseModel, Secret

from taskqueue import Retry, pipeline, step
from taskqueue.definitions import registry
from taskqueue.errors import DefinitionError, UnknownPipeline


def charge() -> None: ...


async def charge_async() -> None: ...


def many() -> Iterator[int]:
    yield 1


async def many_async() -> AsyncIterator[int]:
    yield 1


def of_a_row(group: Group) -> None: ...


def to_a_row() -> Group:
    raise NotImplementedError


def of_what_is_not_there(order: Order) -> None: ...  # type: ignore[name-defined]  # noqa: F821


def to_a_callable() -> Callable[[], int]:
    raise NotImplementedError


def to_an_iterator() -> Iterator[int]:
    return iter([1])


def to_many_iterators() -> list[AsyncIterator[int]]:
    return []


class Login(BaseModel):
    user: str
    pin: Secret[int]


def to_a_secret() -> Login:
    raise NotImplementedError


class Shop:
    def sell(self) -> None: ...


@pytest.mark.parametrize(
    ("function", "says", "hint"),
    [
        (lambda: None, "has the name '<lambda>'", "@step(name='charge-card')"),
        (Shop, "is not a function", "as its outermost decorator"),
        (staticmethod(charge), "is not a function", "as its outermost decorator"),
        (print, "is not a function", "as its outermost decorator"),
        (many, "is a generator", "Return a list"),
        (many_async, "is a generator", "Return a list"),
        (Shop.sell, "is a method", "a function of the module"),
        (of_a_row, "annotation that cannot be stored as JSON", "Instead of a Django object pass its primary key"),
        (to_a_row, "annotation that cannot be stored as JSON", "Instead of a Django object pass its primary key"),
        (to_a_callable, "annotation that cannot be stored as JSON", "Use plain types"),
        (to_an_iterator, "cannot be stored as JSON: collections.abc.Iterator[int]. Use plain types, lists", "lists"),
        (to_many_iterators, "stored as JSON: collections.abc.AsyncIterator[int]. Use plain types, lists", "lists"),
        (of_what_is_not_there, "name 'Order' is not defined", "outside `if TYPE_CHECKING`"),
        (to_a_secret, "would be stored as asterisks", "Use SecretStr"),
    ],
)
def test_a_step_that_cannot_work_is_refused_with_a_hint(function: Any, says: str, hint: str):
    with pytest.raises(DefinitionError) as refused:
        step(function)

    assert says in str(refused.value)
    assert hint in refused.value.hint
    assert refused.value.hint in str(refused.value)


@pytest.mark.parametrize("name", ["", "Charge", "charge card", "charge#2", "-charge", "x" * 101, "käse"])
def test_a_steps_name_has_small_letters_digits_dots_and_hyphens(name: str):
    with pytest.raises(DefinitionError, match="has the name"):
        step(name=name)(charge)


@pytest.mark.parametrize("timeout", [timedelta(0), timedelta(seconds=-1), 0, -1.5, True, "30"])
def test_a_timeout_is_longer_than_nothing(timeout: Any):
    with pytest.raises(DefinitionError, match="positive timedelta"):
        step(timeout=timeout)(charge)


def test_an_async_step_cannot_be_atomic():
    with pytest.raises(DefinitionError, match="Django has no async transactions"):
        step.atomic(charge_async)


@pytest.mark.parametrize("retry", [3, None, timedelta(seconds=3)])
def test_a_policy_is_a_retry(retry: Any):
    with pytest.raises(DefinitionError, match=r"Give it a Retry, such as Retry\.fixed"):
        step(retry=retry)(charge)
    with pytest.raises(DefinitionError, match=r"Give it a Retry, such as Retry\.fixed"):
        pipeline("definitions/retry", retry=retry)(charge)


@pytest.mark.parametrize("name", ["", "Shop/fulfil", "/fulfil", "shop/", "shop//fulfil", "shop fulfil", "x" * 201])
def test_a_pipelines_name_is_made_of_small_words_and_slashes(name: str):
    with pytest.raises(DefinitionError, match="separated by slashes"):
        pipeline(name)(charge)


def with_stars(*amounts: int) -> None: ...


def with_keywords(**amounts: int) -> None: ...


def of_a_login(login: Login) -> None: ...


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (with_stars, r"takes \*args or \*\*kwargs"),
        (with_keywords, r"takes \*args or \*\*kwargs"),
        (of_a_row, "cannot be stored as JSON"),
        (of_a_login, "would be stored as asterisks"),
        (Shop, "is not a function"),
        (many, "is a generator"),
    ],
)
def test_a_pipeline_that_cannot_work_is_refused_and_not_registered(function: Any, says: str):
    with pytest.raises(DefinitionError, match=says):
        pipeline("definitions/wrong")(function)

    with pytest.raises(UnknownPipeline, match=r"No pipeline is called 'definitions/wrong'\. Known: .*demo/task"):
        registry.get("definitions/wrong")


def test_two_pipelines_of_one_name_are_refused_and_both_places_named():
    pipeline("definitions/twice")(charge)

    with pytest.raises(DefinitionError) as refused:
        pipeline("definitions/twice")(charge_async)

    assert "test_definitions.charge and" in str(refused.value)
    assert "test_definitions.charge_async" in str(refused.value)


def test_the_same_function_imported_again_replaces_itself():
    pipeline("definitions/again")(charge)
    again = pipeline("definitions/again")(charge)

    assert registry.get("definitions/again") is again.definition


def test_the_objects_look_like_their_functions():
    def document() -> None:
        """Write it."""

    made = step(retry=Retry.never())(document)

    assert (getattr(made, "__name__", ""), made.__doc__, repr(made)) == ("document", "Write it.", "<step document>")
    assert repr(pipeline("definitions/look")(document)) == "<pipeline definitions/look>"
