"""Values are written as JSON and read back."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Generic, Literal, NamedTuple, Optional, TypeVar
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from taskqueue.errors import DefinitionError, InvalidPayload, NotSerializable, TooLarge
from taskqueue.json_values import codec
from taskqueue.json_values.typed import Arguments, Payload, Result

storable_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | storable_text,
    lambda inner: st.lists(inner) | st.dictionaries(storable_text, inner),
    max_leaves=20,
)


def anything() -> Any: ...


def takes_anything(value: Any) -> None: ...


@given(json_values)
def test_json_values_are_read_back_unchanged(value):
    assert codec.read(codec.write(value)) == value
    assert Result(anything).read(Result(anything).write(value, what="output")) == value


@given(json_values)
def test_a_payload_of_json_values_is_read_back_unchanged(value):
    payload = Payload(takes_anything)

    assert payload.unpack(payload.pack((value,), {})) == ((value,), {})


@given(st.text())
def test_text_is_refused_exactly_if_postgresql_refuses_it(text):
    unstorable = "\x00" in text or any("\ud800" <= character <= "\udfff" for character in text)

    if unstorable:
        with pytest.raises(NotSerializable):
            codec.write([text])
    else:
        assert codec.read(codec.write([text])) == [text]


@pytest.mark.parametrize("text", ["\\u0000", "\\\\u0000", "a\\", "\\\\\\u0000"])
def test_a_backslash_before_u0000_is_not_taken_for_a_nul(text):
    assert codec.read(codec.write(text)) == text


def looped() -> list[Any]:
    loop: list[Any] = []
    loop += [loop, loop]
    return loop


def nested(levels: int) -> Any:
    value: Any = 0
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "pointer", "says"),
    [
        ({"a": [1, math.nan]}, "/a/1", "nan is not a JSON number"),
        ({"a/b": {"c~d": math.inf}}, "/a~1b/c~0d", "inf is not a JSON number"),
        (["ok", "nul \x00"], "/1", "NUL character"),
        ({"nul \x00": 1}, "", "NUL character"),
        ({"a": "half \ud800"}, "/a", "lone surrogate"),
        ({"a": {1, 2}}, "/a", "a set is not a JSON value"),
        ({"a": b"bytes"}, "/a", "a bytes is not a JSON value"),
        ({"a": object()}, "/a", "a object is not a JSON value"),
    ],
)
def test_values_that_cannot_be_stored_have_a_pointer(value, pointer, says):
    with pytest.raises(NotSerializable) as refused:
        codec.write(value, what="output")

    assert [fault.pointer for fault in refused.value.errors] == [pointer]
    assert says in refused.value.errors[0].detail
    assert str(refused.value).startswith("The output cannot be stored as JSON: ")


@pytest.mark.parametrize("value", [nested(10_000), looped()], ids=["deep", "looped"])
def test_a_recursive_value_is_refused_quickly(value):
    with pytest.raises(NotSerializable) as refused:
        codec.write(value)

    assert refused.value.errors[0].detail == "it is nested too deeply"


def test_at_most_twenty_errors_are_listed():
    with pytest.raises(NotSerializable) as refused:
        codec.write([math.nan] * 1000)

    assert len(refused.value.errors) == 20


def test_a_size_is_counted_in_bytes():
    codec.within("é" * 50, limit=100, what="The text", setting="X")

    with pytest.raises(TooLarge, match=r"The text is 102 bytes; the limit is 100 \(setting X\)"):
        codec.within("é" * 51, limit=100, what="The text", setting="X")
    with pytest.raises(TooLarge, match=r"is 101 bytes"):
        codec.within("x", used=100, limit=100, what="The sum", setting="X")


@given(st.text())
def test_printable_text_can_be_stored(text):
    codec.write(codec.printable(text))


class Colour(Enum):
    RED = "red"


class Point(NamedTuple):
    x: int
    y: int


@dataclass
class Line:
    start: Point
    end: Point


T = TypeVar("T")


class Page(BaseModel, Generic[T]):
    items: list[T]
    next: Optional[Page[T]] = None  # noqa: UP045 - authors write it both ways


class Sale(BaseModel):
    at: datetime
    id: UUID
    price: Decimal
    colour: Colour
    took: timedelta
    days: set[date]
    line: Line
    note: str | None = None
    kind: Literal["cash", "card"] = "cash"
    renamed: int = Field(default=1, alias="re-named")


SALE = Sale(
    at=datetime(2030, 1, 2, 3, 4, 5, 678, tzinfo=UTC),
    id=UUID(int=7),
    price=Decimal("12.340"),
    colour=Colour.RED,
    took=timedelta(days=-1, microseconds=3),
    days={date(2030, 1, 1)},
    line=Line(Point(1, 2), Point(3, 4)),
)


def sale() -> Sale: ...  # type: ignore[empty-body]


def page() -> Page[Sale]: ...  # type: ignore[empty-body]


def table() -> dict[UUID, tuple[datetime, Decimal | None]]: ...  # type: ignore[empty-body]


def measured() -> Annotated[float, Field(gt=0)]: ...  # type: ignore[empty-body]


@pytest.mark.parametrize(
    ("function", "value"),
    [
        (sale, SALE),
        (page, Page[Sale](items=[SALE], next=Page[Sale](items=[]))),
        (table, {UUID(int=1): (SALE.at, Decimal("1.10")), UUID(int=2): (SALE.at, None)}),
        (measured, 1e22),
    ],
)
def test_results_are_read_back_with_their_types(function, value):
    result = Result(function)

    again = result.read(result.write(value, what="output"))

    assert again == value
    assert type(again) is type(value)


@given(
    at=st.datetimes(timezones=st.just(UTC)),
    id=st.uuids(),
    price=st.decimals(allow_nan=False, allow_infinity=False),
    took=st.timedeltas(timedelta(days=-999), timedelta(days=999)),
    days=st.sets(st.dates()),
)
def test_typed_values_are_read_back_unchanged(**values):
    value = SALE.model_copy(update=values)

    assert Result(sale).read(Result(sale).write(value, what="output")) == value


@pytest.mark.parametrize("value", ["text", None, {"at": 1}])
def test_a_result_of_another_type_is_refused(value):
    with pytest.raises(ValidationError):
        Result(sale).write(value, what="output")


def clashing(json: int, copy: str, _id: int, model_config: int, schema: int, self_: int = 1) -> list[object]:
    return [json, copy, _id, model_config, schema, self_]


def test_parameters_may_have_names_that_pydantic_uses_itself():
    payload = Payload(clashing)

    text = payload.check({"json": 1, "copy": "2", "_id": 3, "model_config": 4, "schema": 5})

    args, kwargs = payload.unpack(text)
    assert clashing(*args, **kwargs) == [1, "2", 3, 4, 5, 1]
    assert set(payload.json_schema()["properties"]) == {"json", "copy", "_id", "model_config", "schema", "self_"}
    assert "arg_" not in json.dumps(payload.json_schema())


def mixed(first: int, /, second: int = 2, *rest: float, flag: bool = False, **more: str) -> None: ...


def test_a_steps_arguments_are_written_by_name_with_stars_and_defaults():
    arguments = Arguments(mixed)

    assert codec.read(arguments.write((1,), {}, what="arguments")) == {
        "first": 1, "second": 2, "rest": [], "flag": False, "more": {},
    }  # fmt: skip
    assert codec.read(arguments.write((1, 3, 0.5, 1.5), {"flag": True, "a": "b"}, what="arguments")) == {
        "first": 1, "second": 3, "rest": [0.5, 1.5], "flag": True, "more": {"a": "b"},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("args", "kwargs", "error"),
    [
        ((), {}, TypeError),
        ((1, 2), {"second": 3}, TypeError),
        (("one",), {}, ValidationError),
        ((1, 2, "half"), {}, ValidationError),
        ((1,), {"a": 1}, ValidationError),
    ],
)
def test_a_steps_arguments_must_match_its_signature(args, kwargs, error):
    with pytest.raises(error):
        Arguments(mixed).write(args, kwargs, what="arguments")


def test_equal_calls_have_equal_fingerprints():
    arguments = Arguments(mixed)

    calls: list[tuple[tuple[Any, ...], dict[str, Any]]]
    calls = [((1,), {}), ((1, 2), {}), ((1,), {"second": 2}), ((1,), {"flag": False})]
    prints = {codec.fingerprint_of(arguments.write(args, kwargs, what="arguments")) for args, kwargs in calls}

    assert len(prints) == 1
    assert codec.fingerprint_of(arguments.write((2,), {}, what="arguments")) not in prints


class Order(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"number": "B2"}]})

    number: str
    lines: list[Line] = []


def of_an_order(order: Order) -> None: ...


def of_fields(number: Annotated[str, Field(examples=["A1"])], amount: int = 2, note: str | None = None) -> None: ...


def test_a_payloads_errors_have_pointers():
    with pytest.raises(InvalidPayload) as refused:
        Payload(of_an_order).check({"lines": [{"start": [1, "x"], "end": [1, 2]}], "a/b": 1})

    assert {fault.pointer for fault in refused.value.errors} == {"/number", "/lines/0/start/1", "/a~1b"}
    assert refused.value.detail == "The payload has 3 errors."


@pytest.mark.parametrize("payload", [None, [], "text", 3])
def test_a_payload_that_is_no_object_is_refused(payload):
    with pytest.raises(InvalidPayload, match=r"The payload has 1 error\."):
        Payload(of_an_order).check(payload)


def test_an_unknown_field_of_a_signature_is_refused():
    with pytest.raises(InvalidPayload) as refused:
        Payload(of_fields).check({"number": "A1", "remark": ""})

    assert [fault.pointer for fault in refused.value.errors] == ["/remark"]


def test_a_payload_that_a_worker_could_not_read_is_refused():
    broken = Order.model_construct(number=3)  # type: ignore[arg-type]

    with pytest.raises(NotSerializable, match="payload cannot be stored"):
        Payload(of_an_order).pack((broken,), {})
    with pytest.raises((InvalidPayload, NotSerializable)):
        Payload(takes_anything).check({"value": nested(250)})
    with pytest.raises(NotSerializable):
        Payload(takes_anything).pack((object(),), {})
    with pytest.raises(NotSerializable):
        Payload(takes_anything).pack((math.nan,), {})


def test_a_payloads_example_comes_from_model_or_fields():
    assert Payload(of_an_order).example() == {"number": "B2"}
    assert Payload(of_fields).example() == {"number": "A1", "amount": 2, "note": None}


def test_a_sole_optional_model_is_a_field():
    def optional(order: Order | None = None) -> None: ...

    assert Payload(optional).unpack("{}") == ((None,), {})


def of_a_later_class(later: Later) -> None: ...


class Later(BaseModel):
    """Known when the function is decorated, though not yet when it is written."""


def test_an_annotation_may_name_local_types():
    assert Payload(of_a_later_class).model is Later


class Unfinished(BaseModel):
    part: Missing  # type: ignore[name-defined]  # noqa: F821 - which is the point


def of_the_unfinished(part: Unfinished) -> None: ...


def test_an_incomplete_model_is_refused():
    with pytest.raises(DefinitionError, match="of_the_unfinished"):
        Payload(of_the_unfinished)


def test_a_number_of_more_digits_than_python_writes_is_refused():
    with pytest.raises(NotSerializable, match="integer string conversion"):
        codec.write({"number": 10**5000})
