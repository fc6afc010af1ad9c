"""Query parameters as pydantic models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from taskqueue.api.problems import Kind, Refusal
from taskqueue.errors import FieldError
from taskqueue.json_pointers import escape
from taskqueue.json_values import codec

if TYPE_CHECKING:
    from django.http import QueryDict


class Query(BaseModel):
    """Query parameters. Unknown ones are refused: with a misspelt filter the answer would have everything."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    @classmethod
    def of(cls, parameters: QueryDict) -> Self:
        """The parameters of a request.

        Raises:
            Refusal: with a pointer to each error, as if the query were an object.
        """
        repeatable = {name for name, field in cls.model_fields.items() if field.default_factory is list}
        given: dict[str, Any] = {}
        for name, texts in parameters.lists():
            given[name] = texts if name in repeatable else texts[-1]
            if len(texts) > 1 and name not in repeatable:
                raise invalid_query([FieldError(f"/{escape(name)}", "it is given more than once")])
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            raise invalid_query(codec.field_errors(error)) from error


def invalid_query(errors: list[FieldError]) -> Refusal:
    return Refusal(Kind.INVALID_QUERY, f"The query is not valid: {errors[0].pointer}: {errors[0].detail}.", errors)
