"""The pipelines that this process's code knows, as the database is told of them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from taskqueue.definitions import PipelineDefinition, fingerprint, registry

_told: tuple[dict[str, PipelineDefinition], dict[str, Any]] = ({}, {})


def deployed_pipelines() -> dict[str, Any]:
    """The pipelines that this process's code knows, the fingerprint of each, and those of the old bodies it keeps.

    Every claim sends it, so it is made once, and made again only when the registry has changed.
    """
    global _told
    pipelines = registry.by_name()
    if not _told[1] or pipelines != _told[0]:
        _told = (dict(pipelines), written_down(registry.all()))
    return _told[1]


def written_down(definitions: list[PipelineDefinition]) -> dict[str, Any]:
    """The parameters that tell the database of these pipelines; lists as PostgreSQL's own text, made only once."""
    kept = {
        definition.name: {version: fingerprint(old) for version, old in definition.versions.items()}
        for definition in definitions
        if definition.versions
    }
    return {
        "pipelines": array(definition.name for definition in definitions),
        "codes": array(fingerprint(definition) for definition in definitions),
        "kept": json.dumps(kept),
    }


def array(texts: Iterable[str]) -> str:
    """Texts as PostgreSQL writes an array of them."""
    quoted = (text.replace("\\", "\\\\").replace('"', '\\"') for text in texts)
    return "{" + ",".join(f'"{text}"' for text in quoted) + "}"
