"""Python values to JSON and back, by the types that authors wrote. No database here."""

from __future__ import annotations

import inspect
import json
import math
import re
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from hashlib import sha256
from itertools import islice
from types import GenericAlias
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, PydanticUserError, TypeAdapter, ValidationError, create_model

from taskqueue import examples, masks
from taskqueue.digests import CheckedPayload, equal_as
from taskqueue.errors import DefinitionError, FieldError, InvalidPayload, NotSerializable, TooLarge
from taskqueue.json_keys import refuse_collisions

DEEPEST = 200
"""Pydantic reads JSON that is nested no deeper."""

ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
PLAIN = {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}
VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def write(value: object, *, what: str = "value") -> str:
    """Write a JSON-able value as the JSON text that is stored.

    Args:
        what: the name of the value in error messages.

    Raises:
        NotSerializable: it holds what JSON (NaN, infinities, other objects) or PostgreSQL (NUL, lone surrogates) cannot
            hold.
    """
    try:
        text = ENCODER.encode(value)
        text.encode()
    except (ValueError, TypeError, RecursionError) as error:
        raise unstorable(value, what, str(error)) from error
    if "\\u0000" in text and NUL.search(text):
        raise unstorable(value, what, "it holds a NUL character")
    return text


def read(text: str) -> Any:
    """Read JSON text that `write` wrote."""
    return json.loads(text)


def unstorable(value: object, what: str, reason: str) -> NotSerializable:
    """The error that names each place in the value that cannot be stored."""
    faults = list(islice(faults_in(value), 20)) or [FieldError("", reason)]
    return NotSerializable(f"The {what} cannot be stored as JSON: {faults[0].detail}.", faults)


def faults_in(value: object, pointer: str = "", depth: int = 0) -> Iterator[FieldError]:
    """Each place in a value that JSON or PostgreSQL cannot store."""
    if depth > DEEPEST:
        yield FieldError(pointer, "it is nested too deeply")
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from text_faults(str(name), pointer)
            yield from faults_in(item, f"{pointer}/{escape(name)}", depth + 1)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from faults_in(item, f"{pointer}/{index}", depth + 1)
    else:
        yield from scalar_faults(value, pointer)


def scalar_faults(value: object, pointer: str) -> Iterator[FieldError]:
    """What is wrong with a value that holds no others."""
    if isinstance(value, str):
        yield from text_faults(value, pointer)
    elif isinstance(value, float) and not math.isfinite(value):
        yield FieldError(pointer, f"{value} is not a JSON number")
    elif value is not None and not isinstance(value, int | float):
        yield FieldError(pointer, f"a {type(value).__name__} is not a JSON value")


def text_faults(text: str, pointer: str) -> Iterator[FieldError]:
    """What PostgreSQL refuses in a text."""
    if "\x00" in text:
        yield FieldError(pointer, "text cannot hold the NUL character (U+0000)")
    if any("\ud800" <= character <= "\udfff" for character in text):
        yield FieldError(pointer, "text cannot hold a lone surrogate (half of a UTF-16 pair)")


def escape(part: object) -> str:
    """One part of a JSON pointer (RFC 6901, section 3)."""
    return str(part).replace("~", "~0").replace("/", "~1")


def faults_of(error: ValidationError) -> list[FieldError]:
    """Pydantic's complaints as pointers and sentences."""
    return [
        FieldError("".join(f"/{escape(part)}" for part in item["loc"]), item["msg"])
        for item in error.errors(include_url=False, include_context=False, include_input=False)
    ]


def within(text: str, *, limit: int, what: str, setting: str, used: int = 0) -> str:
    """The text itself, if it is no longer than its limit in bytes, together with what is used of that already.

    Raises:
        TooLarge: it is longer.
    """
    if used + len(text) * 4 > limit and (size := used + len(text.encode())) > limit:
        raise TooLarge(what, size=size, limit=limit, setting=setting)
    return text


def printable(text: str) -> str:
    """The text with what PostgreSQL cannot store in it replaced, for error messages that must be kept in any case."""
    return text.replace("\x00", "\N{SYMBOL FOR NULL}").encode(errors="replace").decode()


class Result(masks.Described):
    """What a function returns: checked against its annotation, written, read again with its types."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.adapter = adapter_for(function, hints_of(function).get("return", Any))
        self.make_schema = self.adapter.json_schema
        self.schema = schema_for(function, self.make_schema)
        masks.refuse_unmarked(function, self.adapter.core_schema)

    def write(self, value: object, *, what: str) -> str:
        """Check a returned value and write it as JSON.

        Raises:
            ValidationError, NotSerializable: it does not fit the annotation, or cannot be stored.
        """
        checked = self.adapter.validate_python(value)
        dumping = partial(self.adapter.dump_python, checked, **AGAIN, warnings="error")
        return dump(dumping, checked, reveal=self.has_secrets, what=what)

    def read(self, text: str) -> Any:
        """Read what `write` wrote, as the annotated types.

        Raises:
            ValidationError: the annotation has changed since and the value no longer fits.
        """
        return self.adapter.validate_json(text)

    def json_schema(self) -> masks.Schema:
        """The JSON schema of the result."""
        return self.schema


class Arguments(masks.Described):
    """The parameters of a function as one model: a call's arguments are checked against it and written as JSON."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.signature = inspect.signature(function)
        self.model = model_of(function, self.signature)
        self.make_schema = self.model.model_json_schema
        masks.refuse_unmarked(function, self.model.__pydantic_core_schema__)
        kinds = {parameter.kind for parameter in self.signature.parameters.values()}
        self.names = list(self.signature.parameters) if kinds <= PLAIN else None
        """The parameters of a function that has none but plain ones."""

    def write(self, args: tuple[Any, ...], kwargs: dict[str, Any], *, what: str) -> str:
        """Check a call's arguments and write them as a JSON object by parameter name.

        Raises:
            TypeError: they do not match the signature.
            ValidationError, NotSerializable: one does not fit its annotation, or cannot be stored.
        """
        checked = self.model.model_validate(self._by_name(args, kwargs))
        return dump(partial(checked.model_dump, **AGAIN, warnings="none"), checked, reveal=self.has_secrets, what=what)

    def read(self, text: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Read what `write` wrote as the arguments of a call.

        Raises:
            ValidationError: the code has changed since and they no longer fit.
        """
        model = self.model.model_validate_json(text)
        bound = self.signature.bind_partial()
        for name in self.signature.parameters:
            bound.arguments[name] = getattr(model, field_name(name))
        return bound.args, bound.kwargs

    @cached_property
    def schema(self) -> masks.Schema:
        """The JSON schema of the arguments. What has none is written all the same, and taken for secret as a whole."""
        try:
            return self.make_schema()
        except PydanticUserError:
            return masks.ALL_SECRET

    def are_equal(self, left: str, right: str) -> bool:
        """Whether two written calls are equal as values of the annotated types: a set is written in any order."""
        return equal_as(self.model, left, right)

    def _by_name(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """The arguments by the names of their parameters. Most calls give all of them by position: no need to bind."""
        if self.names is not None and not kwargs and len(args) == len(self.names):
            return dict(zip(self.names, args, strict=True))
        bound = self.signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return dict(bound.arguments)


class Payload(masks.Described):
    """The request that a pipeline takes: its sole model parameter as it is, else a model made from its signature."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.signature = inspect.signature(function)
        if any(parameter.kind in VARIADIC for parameter in self.signature.parameters.values()):
            raise DefinitionError(
                f"Pipeline {function.__qualname__} takes *args or **kwargs.",
                hint="Name each parameter, so that the API can describe the payload.",
            )
        hints = hints_of(function)
        kinds = [hints.get(name) for name in self.signature.parameters]
        self.whole = len(kinds) == 1 and isinstance(kinds[0], type) and issubclass(kinds[0], BaseModel)
        self.model: type[BaseModel] = kinds[0] if self.whole else model_of(function, self.signature)  # type: ignore[assignment]
        self.make_schema = self.model.model_json_schema
        self.schema = schema_for(function, self.make_schema)
        masks.refuse_unmarked(function, self.model.__pydantic_core_schema__)

    def hold(self, name: str, other: Payload) -> None:
        """Describe the field that holds another pipeline's payload as that one is, if it has secrets."""
        if other.has_secrets:
            own, self.has_secrets = self.schema, True
            self.schema = masks.holding(own, name, other.schema)
            self.marks = tuple(masks.holding(own, name, schema) for schema in other.marks)

    def pack(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        """Write the arguments of a typed call as the payload's JSON.

        Raises:
            TypeError: they do not match the signature.
            InvalidPayload, NotSerializable: one of them does not fit or cannot be stored.
        """
        bound = self.signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return self.check(next(iter(bound.arguments.values())) if self.whole else dict(bound.arguments))

    def check(self, value: object) -> str:
        """Check a payload, given as plain JSON values or as the model, and write it as JSON.

        Raises:
            InvalidPayload: with a pointer for each fault.
            NotSerializable: it holds what cannot be stored.
        """
        try:
            model = self.model.model_validate(value)
            text = dump(
                partial(model.model_dump, **AGAIN, warnings="error"), model, reveal=self.has_secrets, what="payload"
            )
            # What a worker could not read again is refused here, where the caller hears of it.
            self.model.model_validate_json(text)
        except ValidationError as error:
            faults = masks.hidden_faults(faults_of(error), value, self.marks)
            raise InvalidPayload(f"The payload has {len(faults)} fault{'s' * (len(faults) > 1)}.", faults) from error
        if self.has_secrets:
            masks.refuse_masks(read(text), *self.marks)
        # Defaults are left out: one that is made by a factory is another one each time the request is repeated.
        given = partial(model.model_dump, **AGAIN, exclude_unset=True, warnings="none")
        return CheckedPayload(text, partial(dump, given, model, reveal=self.has_secrets, what="payload"))

    def are_equal(self, left: str, right: str) -> bool:
        """Whether two payloads are equal as values of the model: a set is written in any order."""
        return equal_as(self.model, left, right)

    def unpack(self, text: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Read a payload as the arguments of the pipeline's function.

        Raises:
            ValidationError: the code has changed since and the payload no longer fits.
        """
        model = self.model.model_validate_json(text)
        bound = self.signature.bind_partial()
        for name in self.signature.parameters:
            bound.arguments[name] = model if self.whole else getattr(model, field_name(name))
        return bound.args, bound.kwargs

    def json_schema(self) -> masks.Schema:
        """The JSON schema of the payload."""
        return self.schema

    def example(self) -> Any:
        """A payload that the model accepts: its own example, else one made from its schema; None if none is found."""
        return examples.first_that_passes(self.check, self.json_schema())


AGAIN: dict[str, Any] = {"by_alias": True, "round_trip": True}
"""How values are dumped: under the names by which they are read again, and without computed fields."""


def dump(dumping: Callable[..., object], value: object, *, reveal: bool, what: str) -> str:
    """Write what pydantic dumps as JSON; with `reveal` secrets as they are, for the step that needs them.

    Raises:
        NotSerializable: it, or a part of it, has no JSON form.
    """
    try:
        plain = dumping(mode="json")
        refuse_collisions(value)
        if reveal:
            plain = masks.revealed(plain, dumping(mode="python"))
    except ValueError as error:
        raise NotSerializable(f"The {what} cannot be stored as JSON: {error}.", [FieldError("", str(error))]) from error
    return write(plain, what=what)


def fingerprint_of(arguments: str) -> str:
    """A short name for a call's arguments: equal calls have equal ones."""
    return sha256(arguments.encode()).hexdigest()[:32]


def hints_of(function: Callable[..., Any]) -> dict[str, Any]:
    """The annotations of a function, evaluated.

    Raises:
        DefinitionError: one names something that does not exist at run time.
    """
    try:
        return get_type_hints(function, include_extras=True)
    except (NameError, AttributeError, TypeError, SyntaxError) as error:
        raise DefinitionError(
            f"The annotations of {function.__qualname__} cannot be read: {error}.",
            hint="They are needed when it runs: import their types outside `if TYPE_CHECKING`, above it.",
        ) from error


NO_NULL_FOR_NAN = ConfigDict(ser_json_inf_nan="constants")
"""Pydantic would write null for NaN where no type is given; so it is refused like everywhere else."""

ARGUMENTS = ConfigDict(extra="forbid", protected_namespaces=(), ser_json_inf_nan="constants")


def model_of(function: Callable[..., Any], signature: inspect.Signature) -> type[BaseModel]:
    """A model with one field per parameter.

    The fields have a prefix and an alias, because a parameter may be called `json`, `copy` or `_id`, and a field not.
    """
    hints = hints_of(function)
    fields: dict[str, Any] = {}
    for name, parameter in signature.parameters.items():
        kind = hints.get(name, Any)
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            kind = GenericAlias(tuple, (kind, ...))
        elif parameter.kind is inspect.Parameter.VAR_KEYWORD:
            kind = GenericAlias(dict, (str, kind))
        default = ... if parameter.default is inspect.Parameter.empty else parameter.default
        fields[field_name(name)] = (kind, Field(default, alias=name))
    title = "".join(part.capitalize() for part in function.__name__.split("_"))
    try:
        return create_model(title, __config__=ARGUMENTS, **fields)
    except PydanticUserError as error:
        raise unfit(function, error) from error


def adapter_for(function: Callable[..., Any], kind: Any) -> TypeAdapter[Any]:
    """A pydantic adapter for an annotation of this function."""
    try:
        return TypeAdapter(kind, config=NO_NULL_FOR_NAN)
    except PydanticUserError as error:
        if error.code != "type-adapter-config-unused":
            raise unfit(function, error) from error
    return TypeAdapter(kind)  # a model, which has its own configuration


def schema_for(function: Callable[..., Any], make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The JSON schema of what is stored of a function and read again.

    Raises:
        DefinitionError: there is none.
    """
    try:
        return make()
    except PydanticUserError as error:
        raise unfit(function, error) from error


def unfit(function: Callable[..., Any], error: PydanticUserError) -> DefinitionError:
    """The error for an annotation that cannot be stored as JSON, without pydantic's advice on configuring a model."""
    what = error.message.splitlines()[0].partition(". Set ")[0].rpartition("schema for ")[2].rstrip(".")
    return DefinitionError(
        f"{function.__qualname__} has an annotation that cannot be stored as JSON: {what}.",
        hint="Use plain types, lists, dataclasses or pydantic models; of a Django model pass the primary key.",
    )


def field_name(parameter: str) -> str:
    """The field that holds a parameter."""
    return f"arg_{parameter}"
