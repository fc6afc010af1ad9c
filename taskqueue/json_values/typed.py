"""Typed values to JSON and back: the arguments, results and payloads of steps and pipelines, by their annotations."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cached_property, partial
from types import GenericAlias
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, PydanticUserError, TypeAdapter, ValidationError, create_model

from taskqueue import examples, masks
from taskqueue.digests import CheckedPayload, equal_as
from taskqueue.errors import DefinitionError, FieldError, InvalidPayload, NotSerializable
from taskqueue.json_values import codec
from taskqueue.json_values.keys import refuse_collisions

PLAIN = {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}
VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class Result(masks.HasSchema):
    """The result of a function: checked against the annotation, written as JSON, read back as the annotated type."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.adapter = adapter_for(function, hints_of(function).get("return", Any))
        self.make_schema = self.adapter.json_schema
        self.schema = schema_for(function, self.make_schema)
        masks.refuse_unmarked(function, self.adapter.core_schema)

    def write(self, value: object, *, what: str) -> str:
        """Check a returned value and write it as JSON.

        Raises:
            ValidationError, NotSerializable: the value does not match the annotation, or cannot be stored.
        """
        checked = self.adapter.validate_python(value)
        dumping = partial(self.adapter.dump_python, checked, **ROUND_TRIP, warnings="error")
        return dump(dumping, checked, reveal=self.has_secrets, what=what)

    def read(self, text: str) -> Any:
        """Read what `write` wrote, as the annotated type.

        Raises:
            ValidationError: the annotation has changed, and the value does not match the new one.
        """
        return self.adapter.validate_json(text)

    def json_schema(self) -> masks.Schema:
        return self.schema


class Parameters(masks.HasSchema):
    """The parameters of a function as one model."""

    signature: inspect.Signature
    model: type[BaseModel]
    whole = False
    """Whether the model is the only parameter itself."""

    @cached_property
    def names(self) -> list[str] | None:
        """The parameter names; None if there are keyword-only or variadic ones."""
        kinds = {parameter.kind for parameter in self.signature.parameters.values()}
        return list(self.signature.parameters) if kinds <= PLAIN else None

    def read(self, text: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Read JSON by parameter name as the arguments of a call.

        Raises:
            ValidationError: the code has changed, and the arguments do not match the new signature.
        """
        model = self.model.model_validate_json(text)
        bound = self.signature.bind_partial()
        for name in self.signature.parameters:
            bound.arguments[name] = model if self.whole else getattr(model, field_name(name))
        return bound.args, bound.kwargs

    def by_name(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """The arguments of a call by the names of their parameters, with defaults.

        Raises:
            TypeError: the arguments do not match the signature.
        """
        # Most calls pass everything by position: binding costs more.
        if self.names is not None and not kwargs and len(args) == len(self.names):
            return dict(zip(self.names, args, strict=True))
        bound = self.signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return dict(bound.arguments)

    def are_equal(self, left: str, right: str) -> bool:
        """Whether two written calls have equal values: a set may be written in any order."""
        return equal_as(self.model, left, right)


class Arguments(Parameters):
    """For checking and writing the arguments of a call."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.signature = inspect.signature(function)
        self.model = model_of(function, self.signature)
        self.make_schema = self.model.model_json_schema
        masks.refuse_unmarked(function, self.model.__pydantic_core_schema__)

    def write(self, args: tuple[Any, ...], kwargs: dict[str, Any], *, what: str) -> str:
        """Check a call's arguments and write them as a JSON object by parameter name.

        Raises:
            TypeError: the arguments do not match the signature.
            ValidationError, NotSerializable: one does not match its annotation, or cannot be stored.
        """
        checked = self.model.model_validate(self.by_name(args, kwargs))
        dumping = partial(checked.model_dump, **ROUND_TRIP, warnings="none")
        return dump(dumping, checked, reveal=self.has_secrets, what=what)

    @cached_property
    def schema(self) -> masks.Schema:
        """The JSON schema of the arguments. Arguments without one can be stored, and count as secret as a whole."""
        try:
            return self.make_schema()
        except PydanticUserError:
            return masks.ALL_SECRET


class Payload(Parameters):
    """The payload of a pipeline: its only parameter if that is a model, otherwise a model of all its parameters."""

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
        self.model = kinds[0] if self.whole else model_of(function, self.signature)  # type: ignore[assignment]
        self.make_schema = self.model.model_json_schema
        self.schema = schema_for(function, self.make_schema)
        masks.refuse_unmarked(function, self.model.__pydantic_core_schema__)

    def describe_field(self, name: str, other: Payload) -> None:
        """Use the schema of another pipeline's payload for the field that has it, so that its secrets are known."""
        if other.has_secrets:
            own, self.has_secrets = self.schema, True
            self.schema = masks.with_member_schema(own, name, other.schema)
            self.secret_schemas = tuple(masks.with_member_schema(own, name, schema) for schema in other.secret_schemas)

    def pack(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        """Write the arguments of a typed call as the payload's JSON.

        Raises:
            TypeError: the arguments do not match the signature.
            InvalidPayload, NotSerializable: an argument does not match its annotation, or cannot be stored.
        """
        arguments = self.by_name(args, kwargs)
        return self.check(next(iter(arguments.values())) if self.whole else arguments)

    def check(self, value: object) -> str:
        """Check a payload, which is plain JSON values or the model, and write it as JSON.

        Raises:
            InvalidPayload: with a pointer to each error.
            NotSerializable: a part of it cannot be stored.
        """
        try:
            model = self.model.model_validate(value)
            text = self.write(model, warnings="error")
            # Refuse here what a worker could not read.
            self.model.model_validate_json(text)
        except ValidationError as error:
            errors = masks.redacted_errors(codec.field_errors(error), value, self.secret_schemas)
            raise InvalidPayload(f"The payload has {len(errors)} error{'s' * (len(errors) > 1)}.", errors) from error
        if self.has_secrets:
            masks.refuse_masks(codec.read(text), *self.secret_schemas)
        # Without defaults: a default_factory returns another value each time the request is repeated.
        return CheckedPayload(text, partial(self.write, model, exclude_unset=True, warnings="none"))

    def write(self, model: BaseModel, **options: Any) -> str:
        """Write a checked payload as JSON.

        Args:
            options: of `BaseModel.model_dump`.

        Raises:
            NotSerializable: a part of it cannot be stored.
        """
        dumping = partial(model.model_dump, **ROUND_TRIP, **options)
        return dump(dumping, model, reveal=self.has_secrets, what="payload")

    unpack = Parameters.read

    def json_schema(self) -> masks.Schema:
        return self.schema

    def example(self) -> Any:
        """A payload that the model accepts: its own example, or one made from its schema, or None."""
        return examples.first_that_passes(self.check, self.json_schema())


ROUND_TRIP: dict[str, Any] = {"by_alias": True, "round_trip": True}
"""Dump under the names that are read back, and without computed fields."""


def dump(dumping: Callable[..., object], value: object, *, reveal: bool, what: str) -> str:
    """Write what pydantic dumps as JSON; with `reveal` secrets are written in clear, for the step that needs them.

    Raises:
        NotSerializable: a part of the value has no JSON form.
    """
    try:
        plain = dumping(mode="json")
        refuse_collisions(value)
        if reveal:
            plain = masks.revealed(plain, dumping(mode="python"))
    except ValueError as error:
        raise NotSerializable(f"The {what} cannot be stored as JSON: {error}.", [FieldError("", str(error))]) from error
    return codec.write(plain, what=what)


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
            hint="They are needed at run time: import their types above the function and outside `if TYPE_CHECKING`.",
        ) from error


NO_NULL_FOR_NAN = ConfigDict(ser_json_inf_nan="constants")
"""Pydantic would write null for NaN in an untyped value; this way `codec.write` refuses it."""

ARGUMENTS = ConfigDict(extra="forbid", protected_namespaces=(), ser_json_inf_nan="constants")


def model_of(function: Callable[..., Any], signature: inspect.Signature) -> type[BaseModel]:
    """A model with a field for each parameter.

    The fields have a prefix and an alias: a parameter may be called `json`, `copy` or `_id`, a field may not.
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
        raise unserializable(function, error) from error


def adapter_for(function: Callable[..., Any], kind: Any) -> TypeAdapter[Any]:
    try:
        return TypeAdapter(kind, config=NO_NULL_FOR_NAN)
    except PydanticUserError as error:
        if error.code != "type-adapter-config-unused":
            raise unserializable(function, error) from error
    return TypeAdapter(kind)  # a model, which has its own configuration


def schema_for(function: Callable[..., Any], make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The JSON schema that `make` returns.

    Raises:
        DefinitionError: an annotation has no JSON schema.
    """
    try:
        return make()
    except PydanticUserError as error:
        raise unserializable(function, error) from error


def unserializable(function: Callable[..., Any], error: PydanticUserError) -> DefinitionError:
    """The error for an annotation without a JSON form, leaving out pydantic's advice on model configuration."""
    what = error.message.splitlines()[0].partition(". Set ")[0].rpartition("schema for ")[2].rstrip(".")
    return DefinitionError(
        f"{function.__qualname__} has an annotation that cannot be stored as JSON: {what}.",
        hint="Use plain types, lists, dataclasses or pydantic models. Instead of a Django object pass its primary key.",
    )


def field_name(parameter: str) -> str:
    return f"arg_{parameter}"
