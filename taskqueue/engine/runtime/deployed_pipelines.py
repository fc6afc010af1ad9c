"""The pipelines that this process's code knows, as parameters for the statements that claim tasks."""

from __future__ import annotations

import json
from collections.abc import Iterable
from enum import Enum
from typing import Any

from taskqueue.definitions import PipelineDefinition, fingerprint, registry


class BodyKind(Enum):
    """Which pipelines a worker claims tasks of, by their bodies."""

    ANY = "any"
    PLAIN = "plain"
    ASYNC = "async"

    def includes(self, definition: PipelineDefinition) -> bool:
        return self is BodyKind.ANY or definition.is_async == (self is BodyKind.ASYNC)


_cached: tuple[dict[str, PipelineDefinition], dict[BodyKind, dict[str, Any]]] = ({}, {})


def deployed_pipelines(kind: BodyKind = BodyKind.ANY) -> dict[str, Any]:
    """The names of the code's pipelines, the fingerprint of each, and the fingerprints of its old versions.

    Every claim sends these parameters, so they are cached until the registry changes.
    """
    global _cached
    pipelines = registry.by_name()
    if not _cached[1] or pipelines != _cached[0]:
        by_kind = {each: to_parameters(list(filter(each.includes, registry.all()))) for each in BodyKind}
        _cached = (dict(pipelines), by_kind)
    return _cached[1][kind]


def has_pipelines(kind: BodyKind) -> bool:
    """Whether the code has any pipeline of this kind."""
    return any(map(kind.includes, registry.all()))


def to_parameters(definitions: list[PipelineDefinition]) -> dict[str, Any]:
    old_versions = {
        definition.name: {version: fingerprint(old) for version, old in definition.versions.items()}
        for definition in definitions
        if definition.versions
    }
    return {
        "pipelines": to_array(definition.name for definition in definitions),
        "codes": to_array(fingerprint(definition) for definition in definitions),
        "kept": json.dumps(old_versions),
    }


def to_array(texts: Iterable[str]) -> str:
    """Texts as PostgreSQL writes an array of them, so that psycopg need not adapt a list at each claim."""
    quoted = (text.replace("\\", "\\\\").replace('"', '\\"') for text in texts)
    return "{" + ",".join(f'"{text}"' for text in quoted) + "}"
