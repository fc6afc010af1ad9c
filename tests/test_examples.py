"""Examples of payloads are accepted by their models."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from taskqueue.errors import InvalidPayload
from taskqueue.json_values.typed import Payload
from taskqueue.masks import MASK


class Colour(StrEnum):
    RED = "red"


class Tree(BaseModel):
    name: str
    children: list[Tree] = []


class Login(BaseModel):
    user: str = Field(examples=["dana"])
    password: SecretStr
    pin: SecretStr = SecretStr("4321")
    card: str = Field(default="4111-1111", json_schema_extra={"secret": True})


class Careless(BaseModel):
    """Its own example is what the API would show of one."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"password": MASK}]})
    password: SecretStr


class Wrong(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"jams": False}, {"title": "right"}]})
    title: str


class Impossible(BaseModel):
    code: str

    @field_validator("code")
    @classmethod
    def never(cls, code: str) -> str:
        raise ValueError(code)


def scalars(
    text: Annotated[str, Field(min_length=8, max_length=9)],
    whole: Annotated[int, Field(ge=10, multiple_of=4)],
    part: Annotated[float, Field(gt=0, lt=0.5)],
    small: Annotated[int, Field(le=-3)],
    money: Decimal,
    flag: bool,  # noqa: FBT001 - a payload
    nothing: None,
    anything: Any,
) -> None: ...


def shapes(
    at: datetime,
    day: date,
    span: timedelta,
    key: UUID,
    kind: Literal["a", "b"],
    colour: Colour,
    maybe: int | None,
    many: Annotated[list[int], Field(min_length=3)],
    pair: tuple[int, str],
    by_name: dict[str, int],
    tree: Tree,
) -> None: ...


def takes(model: type[BaseModel]) -> Payload:
    def function(request: Any) -> None: ...

    function.__annotations__["request"] = model
    return Payload(function)


@pytest.mark.parametrize("function", [scalars, shapes])
def test_without_examples_one_is_made_from_the_schema(function):
    payload = Payload(function)

    payload.check(payload.example())


def test_an_invalid_example_of_a_model_is_skipped():
    assert takes(Wrong).example() == {"title": "right"}


@pytest.mark.parametrize("model", [Login, Careless])
def test_examples_have_neither_secrets_nor_masks(model):
    payload = takes(model)
    example = payload.example()

    payload.check(example)
    assert example["password"] == "secret"
    assert set(example) <= {"user", "password"}


def test_without_a_valid_example_there_is_none():
    assert takes(Impossible).example() is None


@pytest.mark.parametrize(
    ("value", "pointers"),
    [
        ({"user": "a", "password": MASK}, ["/password"]),
        ({"user": "a", "password": "b", "pin": MASK, "card": MASK}, ["/pin", "/card"]),
    ],
)
def test_a_mask_is_refused_as_the_value_of_a_secret(value, pointers):
    with pytest.raises(InvalidPayload) as refused:
        takes(Login).check(value)

    assert [fault.pointer for fault in refused.value.errors] == pointers


def test_a_mask_in_another_field_is_plain_text():
    takes(Login).check({"user": MASK, "password": "b"})
