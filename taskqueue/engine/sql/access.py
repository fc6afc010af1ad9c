"""A caller's access: the token of a request with its user and permissions, and the user's grants for pipelines.

These statements depend on the project's user model, so functions write them, once per process.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.db import connection

from taskqueue.models import PipelinePermission, Token

TOKEN_COLUMNS: Final = tuple(field.attname for field in Token._meta.concrete_fields)


@cache
def user_columns() -> tuple[str, ...]:
    return tuple(field.attname for field in user_model()._meta.concrete_fields)


def user_model() -> Any:
    return Token._meta.get_field("user").related_model


@cache
def find_token(*, with_permissions: bool) -> str:
    """The statement that finds a token by its digest, with its user. The ORM writes the part that reads these two.

    Args:
        with_permissions: also read the permissions of the user, and those of the user's groups.

    Returns:
        The statement. Its row has the token's columns, the user's columns, whether the token has expired, whether its
        use was recorded within the last `use_recorded_every`, whether any pipeline has grants, and both sets of
        permissions; these are null for a superuser.
    """
    found, _digest = Token.objects.select_related("user").filter(digest="").query.sql_with_params()
    names = [*(f"token_{name}" for name in TOKEN_COLUMNS), *(f"user_{name}" for name in user_columns())]
    return f"""
WITH found ({", ".join(map(quoted, names))}) AS MATERIALIZED (
    {found.replace("%s", "%(digest)s::text")}
)
SELECT found.*, coalesce(token_expires_at <= statement_timestamp(), false),
    coalesce(token_last_used_at > statement_timestamp() - %(use_recorded_every)s::interval, false),
    EXISTS (SELECT FROM {quoted(PipelinePermission._meta.db_table)}),
    {own_permissions() if with_permissions else "NULL"}, {group_permissions() if with_permissions else "NULL"}
FROM found
"""


def own_permissions() -> str:
    return permission_names(related(user_model(), "user_permissions", "= found.token_user_id"))


def group_permissions() -> str:
    groups = related(user_model(), "groups", "= found.token_user_id")
    return permission_names(related(Group, "permissions", f"IN ({groups})"))


def permission_names(ids: str) -> str:
    """The names of these permissions, as an array; null for a superuser."""
    return f"""CASE WHEN NOT found.user_is_superuser THEN ARRAY(
    SELECT type.app_label || '.' || permission.codename
    FROM {quoted(Permission._meta.db_table)} permission
    JOIN {quoted(ContentType._meta.db_table)} type ON type.id = permission.content_type_id
    WHERE permission.id IN ({ids})
) END"""


@cache
def read_grants(*, of_all: bool) -> str:
    """The statement that reads the grants of some pipelines, or of all, each with whether it is the user's.

    Returns:
        The statement. Its rows have the pipeline, whether the grant is for the user or one of the user's groups, and
        what the grant allows, in the order of `PipelinePermission`.
    """
    groups = related(user_model(), "groups", "= %(user)s")
    return f"""
SELECT permission.pipeline_id,
    coalesce(permission.user_id = %(user)s OR permission.group_id IN ({groups}), false),
    permission.run, permission.view_payload, permission.retry, permission.cancel
FROM {quoted(PipelinePermission._meta.db_table)} permission
{"" if of_all else "WHERE permission.pipeline_id = ANY (%(pipelines)s::text[])"}
"""


def related(model: Any, name: str, condition: str) -> str:
    """The ids on the other side of a many-to-many relation, of the rows of the model whose ids meet a condition."""
    field = model._meta.get_field(name)
    table, column, other = map(quoted, (field.m2m_db_table(), field.m2m_column_name(), field.m2m_reverse_name()))
    return f"SELECT relation.{other} FROM {table} relation WHERE relation.{column} {condition}"


def quoted(name: str) -> str:
    """A name as the ORM writes it."""
    text: str = connection.ops.quote_name(name)
    return text
