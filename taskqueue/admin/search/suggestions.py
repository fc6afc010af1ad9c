"""Suggest other searches when a search finds nothing: where the word does occur."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlencode

from django.db.models import Exists, OuterRef

from taskqueue.admin.search import syntax
from taskqueue.engine import sql
from taskqueue.engine.access.permissions import Action, CallerPermissions
from taskqueue.engine.queries import filters
from taskqueue.engine.queries.filters import TaskFilter
from taskqueue.models import Pipeline, PipelineStep, Task

MAX_OF_KIND = 5
MAX_ERROR_TYPES = 200


@dataclass(frozen=True)
class Suggestion:
    """A search that finds something: its label and its query string."""

    label: str
    query: str


def suggestions_for(term: str, rights: CallerPermissions) -> list[Suggestion]:
    """Searches for a word that find something; none for a term with qualifiers."""
    try:
        search = syntax.parse(term, may_see_payload=True)
    except syntax.InvalidSearch:
        return []
    word = search.id_or_key_prefix.strip()
    if not word or search != TaskFilter(id_or_key_prefix=search.id_or_key_prefix):
        return []
    return [
        *by_key(word),
        *by_pipeline(word),
        *by_step(word),
        *by_error(word),
        *by_label(word),
        *by_payload(word, rights),
    ]


def unknown_qualifiers(term: str) -> list[str]:
    """Words before a colon that are no qualifiers, so that the search took them for a key prefix."""
    found = (syntax.QUALIFIED.fullmatch(word) for word in syntax.WORD.findall(term))
    names = (f"{match[1]}{match[2]}" for match in found if match)
    return [name for name in names if name.partition(".")[0].lower() not in syntax.QUALIFIERS]


def by_key(word: str) -> Iterator[Suggestion]:
    if finds_any(TaskFilter(key_words=word)):
        yield suggestion(f"Key contains {word}", "key", word)


def by_pipeline(word: str) -> Iterator[Suggestion]:
    tasks = Task.objects.filter(pipeline=OuterRef("pk"), parallel_step="")
    names = Pipeline.objects.filter(Exists(tasks), name__icontains=word).order_by("name").values_list("name", flat=True)
    for name in names[:MAX_OF_KIND]:
        yield Suggestion(f"Pipeline {name}", "?" + urlencode({"pipeline": name}))


def by_step(word: str) -> Iterator[Suggestion]:
    steps = PipelineStep.objects.filter(name__icontains="-".join(word.split())).order_by("name")
    for name in steps.values_list("name", flat=True).distinct()[:MAX_OF_KIND]:
        if finds_any(TaskFilter(step=name)):
            yield suggestion(f"Failed or unfinished in step {name}", "step", name)


def by_error(word: str) -> Iterator[Suggestion]:
    names = [name for (name,) in sql.fetch(sql.ERROR_TYPES, {"limit": MAX_ERROR_TYPES})]
    for name in [name for name in names if word.lower() in name.lower()][:MAX_OF_KIND]:
        yield Suggestion(f"Error type {name}", "?" + urlencode({"error": name}))


def by_label(word: str) -> Iterator[Suggestion]:
    values = {"newest": filters.SCAN_LIMIT, "word": word, "limit": MAX_OF_KIND}
    for name, value in sql.fetch(sql.FIND_LABELS, values):
        yield suggestion(f"Label {name} = {value}", "label", f"{name}={value}")


def by_payload(word: str, rights: CallerPermissions) -> Iterator[Suggestion]:
    """Payload fields of the newest tasks with this value, if the user may view them."""
    if not rights.has_permission(Action.VIEW_PAYLOAD):
        return
    closed = sorted(rights.pipelines_denied(Action.VIEW_PAYLOAD))
    values = {"newest": filters.SCAN_LIMIT, "word": word, "closed": closed, "limit": MAX_OF_KIND}
    for (path,) in sql.fetch(sql.FIND_PATHS, values):
        yield suggestion(f"Payload {path} = {word}", f"payload.{path}", word)


def suggestion(label: str, qualifier: str, value: str) -> Suggestion:
    quoted = f'"{value}"' if " " in value else value
    return Suggestion(label, "?" + urlencode({"q": f"{qualifier}:{quoted}"}))


def finds_any(task_filter: TaskFilter) -> bool:
    """Whether a search finds a task; it looks at the newest tasks only."""
    return filters.ids_of(task_filter, oldest=filters.oldest_scanned(task_filter), limit=1).exists()
