"""What a search that found nothing may have meant: where the word does stand, as searches that find something."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlencode

from django.db.models import Exists, OuterRef

from taskqueue.admin.search import syntax
from taskqueue.engine import sql
from taskqueue.engine.access.permissions import Action, Rights
from taskqueue.engine.queries import filters
from taskqueue.engine.queries.filters import TaskFilter
from taskqueue.models import Pipeline, PipelineStep, Task

OFFERED = 5
"""So many at the most of each kind."""
ERRORS_KNOWN = 200


@dataclass(frozen=True)
class Suggestion:
    """A search that finds something: its words, and its address."""

    label: str
    query: str


def suggestions_for(term: str, rights: Rights) -> list[Suggestion]:
    """The searches for a bare word that find something; nothing for a term with qualifiers."""
    try:
        search = syntax.read(term, may_see_payload=True)
    except syntax.InvalidSearch:
        return []
    word = search.begins.strip()
    if not word or search != syntax.Search(begins=search.begins):
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
    """The words before colons that are no qualifiers, so that they were taken for the beginning of a key."""
    found = (syntax.QUALIFIED.fullmatch(word) for word in syntax.WORD.findall(term))
    names = (f"{match[1]}{match[2]}" for match in found if match)
    return [name for name in names if name.partition(".")[0].lower() not in syntax.QUALIFIERS]


def by_key(word: str) -> Iterator[Suggestion]:
    """Keys that contain it."""
    if finds_any(TaskFilter(key_part=word)):
        yield searched(f"Key contains {word}", "key", word)


def by_pipeline(word: str) -> Iterator[Suggestion]:
    """Pipelines with tasks whose name contains it."""
    tasks = Task.objects.filter(pipeline=OuterRef("pk"), parallel_step="")
    names = Pipeline.objects.filter(Exists(tasks), name__icontains=word).order_by("name").values_list("name", flat=True)
    for name in names[:OFFERED]:
        yield Suggestion(f"Pipeline {name}", "?" + urlencode({"pipeline": name}))


def by_step(word: str) -> Iterator[Suggestion]:
    """Steps whose name contains it, which failed or are not over in some task."""
    steps = PipelineStep.objects.filter(name__icontains="-".join(word.split())).order_by("name")
    for name in steps.values_list("name", flat=True).distinct()[:OFFERED]:
        if finds_any(TaskFilter(step=name)):
            yield searched(f"Failed or under way in step {name}", "step", name)


def by_error(word: str) -> Iterator[Suggestion]:
    """Types of errors that contain it."""
    names = [name for (name,) in sql.fetch(sql.ERROR_TYPES, {"limit": ERRORS_KNOWN})]
    for name in [name for name in names if word.lower() in name.lower()][:OFFERED]:
        yield Suggestion(f"Error type {name}", "?" + urlencode({"error": name}))


def by_label(word: str) -> Iterator[Suggestion]:
    """Labels of the newest tasks with that name or value."""
    values = {"newest": filters.SEARCHED, "word": word, "limit": OFFERED}
    for name, value in sql.fetch(sql.LABELS_WITH, values):
        yield searched(f"Label {name} = {value}", "label", f"{name}={value}")


def by_payload(word: str, rights: Rights) -> Iterator[Suggestion]:
    """Fields in the payloads of the newest tasks with that value, for those who may see them."""
    if not rights.has(Action.VIEW_PAYLOAD):
        return
    closed = sorted(rights.pipelines_denied(Action.VIEW_PAYLOAD))
    values = {"newest": filters.SEARCHED, "word": word, "closed": closed, "limit": OFFERED}
    for (path,) in sql.fetch(sql.PATHS_WITH, values):
        yield searched(f"Payload {path} = {word}", f"payload.{path}", word)


def searched(label: str, qualifier: str, value: str) -> Suggestion:
    """A search with one qualifier; its value in quotes when it has spaces."""
    quoted = f'"{value}"' if " " in value else value
    return Suggestion(label, "?" + urlencode({"q": f"{qualifier}:{quoted}"}))


def finds_any(selection: TaskFilter) -> bool:
    """Whether it means any task, as far as a search looks."""
    return filters.ids_of(selection, floor=filters.floor_of(selection), limit=1).exists()
