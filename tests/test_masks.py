"""Secrets are found by schema and masked, also in other texts."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AfterValidator, BaseModel, Field, SecretBytes, SecretStr, StringConstraints, ValidationError

from taskqueue import masks
from taskqueue.errors import InvalidPayload
from taskqueue.json_values.typed import Arguments, Payload, Result
from taskqueue.masks import MASK


class Card(BaseModel):
    number: str = Field(json_schema_extra={"secret": True})
    holder: str = "Dana"
    next: Card | None = None


class Login(BaseModel):
    user: str
    password: SecretStr
    key: SecretBytes = SecretBytes(b"key-of-bytes")
    pin: int = Field(default=1234, json_schema_extra={"secret": True})
    cards: list[Card] = []
    by_name: dict[str, SecretStr] = {}
    pair: tuple[str, SecretStr] | None = None
    either: Card | int = 0
    whole: Card | None = Field(default=None, json_schema_extra={"secret": True})


def sign_in(login: Login) -> Login:
    return login


def store(user: str, password: SecretStr, *rest: SecretStr) -> dict[str, SecretStr]:
    return {user: password}


VALUE: dict[str, Any] = {
    "user": "dana",
    "password": "hunter2-hunter2",
    "key": "key-of-bytes",
    "pin": 1234,
    "cards": [{"number": "4111-1111", "holder": "Dana", "next": {"number": "4222-2222", "holder": "x", "next": None}}],
    "by_name": {"a": "secret-of-a"},
    "pair": ["open", "secret-of-pair"],
    "either": {"number": "4333-3333", "holder": "y", "next": None},
    "whole": {"number": "4444-4444", "holder": "hidden with it", "next": None},
}
SCHEMA = Login.model_json_schema()


def test_exactly_the_marked_fields_are_masked():
    assert masks.masked(VALUE, SCHEMA) == {
        "user": "dana",
        "password": MASK,
        "key": MASK,
        "pin": MASK,
        "cards": [{"number": MASK, "holder": "Dana", "next": {"number": MASK, "holder": "x", "next": None}}],
        "by_name": {"a": MASK},
        "pair": ["open", MASK],
        "either": {"number": MASK, "holder": "y", "next": None},
        "whole": MASK,
    }


def test_secrets_are_stored_in_clear():
    payload, arguments, result = Payload(sign_in), Arguments(store), Result(store)

    assert '"hunter2-hunter2"' in payload.check(VALUE)
    [login], _ = payload.unpack(payload.check(VALUE))
    assert login.password.get_secret_value() == "hunter2-hunter2"
    assert login.key.get_secret_value() == b"key-of-bytes"
    assert payload.check(login) == payload.check(VALUE)

    text = arguments.write(("dana", SecretStr("one-secret"), SecretStr("two-secret")), {}, what="x")
    (_user, password, *rest), _ = arguments.read(text)
    assert [password.get_secret_value(), rest[0].get_secret_value()] == ["one-secret", "two-secret"]

    assert result.read(result.write({"a": SecretStr("kept")}, what="x"))["a"].get_secret_value() == "kept"


@given(st.text(max_size=20), st.lists(st.text(max_size=20), max_size=4))
def test_any_text_can_be_a_secret(password, others):
    arguments = Arguments(store)
    if "\0" in "".join([password, *others]) or any("\ud800" <= c <= "\udfff" for c in "".join([password, *others])):
        return

    text = arguments.write(("u", SecretStr(password), *map(SecretStr, others)), {}, what="x")

    (_user, *found), _ = arguments.read(text)
    assert [secret.get_secret_value() for secret in found] == [password, *others]


def test_the_texts_of_all_secrets_are_found():
    found = masks.secrets_in(VALUE, SCHEMA)

    assert {"hunter2-hunter2", "key-of-bytes", "4111-1111", "4222-2222", "secret-of-a", "4444-4444"} <= set(found)
    assert "dana" not in found


def test_a_short_secret_is_masked_only_in_its_field():
    assert masks.secrets_in({"number": "12345"}, Card.model_json_schema()) == []
    assert masks.masked({"number": "12345"}, Card.model_json_schema()) == {"number": MASK}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("no such card: 4111-1111!", f"no such card: {MASK}!"),
        ("nothing to hide", "nothing to hide"),
        ("input_value={'number': '41...1', input_type=dict]", f"input_value={MASK}, input_type=dict]"),
    ],
)
def test_a_secret_is_hidden_in_text(text, said):
    assert masks.hidden(text, ["4111-1111"]) == said


@pytest.mark.parametrize("secret", ['quote"quote', "back\\slash", "line\nline", "it's mine", "a.b*c(d", "köder-köder"])
def test_a_secret_is_hidden_however_it_is_quoted(secret):
    said = masks.hidden([repr(secret), masks.json_escaped(secret), {secret: secret}, str([secret])], [secret])

    assert secret not in str(said)
    assert repr(secret)[1:-1] not in str(said)


def test_longer_secrets_are_masked_first():
    assert masks.hidden("abcdefgh", ["abcdef", "abcdefgh"]) == MASK


def test_pydantics_quoted_input_is_masked():
    with pytest.raises(ValidationError) as refused:
        Card.model_validate({"holder": "x", "numbr": "4111-1111" * 20})

    assert "4111" not in masks.hidden(str(refused.value), ["4111-1111" * 20])


def test_without_secrets_nothing_is_changed():
    value = {"a": ["x", 1, None, 2.5, True]}

    assert masks.hidden(value, []) is value
    assert masks.masked(value, {"type": "object"}) == value


@pytest.mark.parametrize("schema", [{}, {"properties": {"a": True}}, {"$ref": "#/nowhere"}, {"items": False}])
def test_any_schema_can_be_searched(schema):
    assert masks.masked({"a": [1]}, schema) == {"a": [1]}


def test_values_without_schema_are_secret():
    assert masks.masked({"a": [1]}, masks.ALL_SECRET) == MASK


class Vault(BaseModel):
    by_code: dict[Annotated[str, StringConstraints(pattern="^[a-z]+$")], SecretStr]


def test_pattern_properties_are_masked():
    schema = Vault.model_json_schema()

    assert "patternProperties" in str(schema)
    assert masks.masked({"by_code": {"ab": "secret-of-ab"}}, schema) == {"by_code": {"ab": MASK}}


def refused(text: str) -> str:
    if text == "refused-card":
        raise ValueError(f"{text} is no card")
    return text


class Purse(BaseModel, populate_by_name=True):
    card: Annotated[str, AfterValidator(refused)] = Field(
        default="",
        validation_alias="card_in",
        serialization_alias="card_out",
        json_schema_extra={"secret": True},
    )


class Holder(BaseModel, populate_by_name=True):
    purse: Purse = Field(alias="purseGiven")


def hold(holder: Holder) -> Holder:
    return holder


def test_a_secret_is_masked_under_every_alias():
    for value in (
        {"purseGiven": {"card_in": "4111-1111"}},
        {"purseGiven": {"card_out": "4111-1111"}},
        {"purse": {"card": "4111-1111"}},
    ):
        for described in (Payload(hold), Result(hold)):
            assert "4111" not in str(masks.masked(value, *described.secret_schemas)), value
    assert "4111" not in str(
        masks.masked({"holder": {"purseGiven": {"card_out": "4111"}}}, *Arguments(hold).secret_schemas)
    )


def test_errors_of_a_payload_have_no_secrets():
    with pytest.raises(InvalidPayload) as caught:
        Payload(hold).check({"purse": {"card": "refused-card"}})

    assert MASK in caught.value.errors[0].detail
    assert "refused-card" not in str([caught.value.errors, str(caught.value)])


class Fork(BaseModel):
    kind: Literal["fork"] = "fork"
    next: Annotated[Fork | Spoon, Field(discriminator="kind")] | None = None
    number: str = Field(default="", json_schema_extra={"secret": True})


class Spoon(BaseModel):
    kind: Literal["spoon"] = "spoon"
    next: Annotated[Fork | Spoon, Field(discriminator="kind")] | None = None


class Plain(BaseModel):
    next: Plain | None = None


def set_table(first: Fork, guests: int) -> None: ...


def clear_table(first: Plain, guests: int) -> None: ...


def nested(deep: int, inmost: Any, **given: str) -> Any:
    value = inmost
    for _level in range(deep):
        value = {"next": value, **given}
    return value


def test_a_secret_is_masked_however_deep_it_is():
    masked = masks.masked(nested(150, {"number": "4111-1111"}), Card.model_json_schema())

    assert masked == nested(150, {"number": MASK})


def test_values_deeper_than_the_limit_are_secret():
    deep = nested(900, {"size": "4111-1111"})

    assert masks.masked(deep, Card.model_json_schema()) == nested(201, MASK)
    assert masks.secrets_in(deep, Card.model_json_schema()) == ["4111-1111"]


def calls_in_masks(function: Callable[[], object]) -> int:
    """How many functions of the module a function calls on its way."""
    number = 0

    def note(frame: Any, event: str, _argument: Any) -> None:
        nonlocal number
        number += event == "call" and frame.f_code.co_filename == masks.__file__

    sys.setprofile(note)
    try:
        function()
    finally:
        sys.setprofile(None)
    return number


def calls_refusing(body: Any, deep: int) -> int:
    """Calls while a pipeline refuses a payload of this depth."""
    payload = Payload(body)

    def refuse() -> None:
        with pytest.raises(InvalidPayload):
            payload.check({"first": nested(deep, None, kind="fork"), "guests": "none"})

    refuse()  # the schemas are made once
    return calls_in_masks(refuse)


def test_a_value_is_searched_once_for_all_schemas():
    schema = Fork.model_json_schema()

    def calls_to(deep: int) -> int:
        return calls_in_masks(lambda: masks.masked(nested(deep, {"number": "x"}), schema))

    assert calls_to(12) < calls_to(6) * 3


def test_the_cost_of_a_refused_payload_is_linear_in_depth():
    assert calls_refusing(set_table, 12) < calls_refusing(set_table, 6) * 3


def test_without_secrets_a_refused_payload_is_not_searched():
    assert calls_refusing(clear_table, 12) == calls_refusing(clear_table, 3)
