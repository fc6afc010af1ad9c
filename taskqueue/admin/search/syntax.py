"""What the search box of the task list understands: the beginning of an id or key, and qualifiers."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from taskqueue import codec
from taskqueue.masks import MASK
from taskqueue.models import Pipeline

PLACEHOLDER = "ID or key, or error: pipeline: step: label: payload.field:"
HELP = (
    "Search by ID or key prefix (case-sensitive), or use key:part, error:Type, pipeline:name, step:name, worker:host, "
    'label:name=value, payload.field.field:value. Quotes keep words together: error:"Bad Gateway".'
)
QUALIFIERS = ("error", "pipeline", "step", "key", "worker", "label", "payload")
PLAIN = {"error": "error", "step": "step", "key": "key_part", "worker": "worker"}
"""Those whose value is taken as it is, with the field of the search that takes it."""
ELSEWHERE = {
    "status": "Choose a status in the tabs above the list.",
    "created": "Choose a time in the filters or in the bars.",
    "id": "Type the beginning of the ID itself, without a qualifier.",
}
WORD = re.compile(r'(?:[^\s"]|"[^"]*"?)+')
QUALIFIED = re.compile(r"([A-Za-z_]+)((?:\.[^:\s\"]*)?):(.*)", re.DOTALL)
DEEPEST = 10


class InvalidSearch(Exception):
    """A search that cannot be done; its message says why."""


@dataclass
class Search:
    """What a search term asks for, as the fields of a selection.

    Attributes:
        begins: the beginning of an id or key.
    """

    begins: str = ""
    error: str = ""
    pipeline: str = ""
    step: str = ""
    key_part: str = ""
    worker: str = ""
    labels: list[tuple[str, str]] = field(default_factory=list)
    payload: list[tuple[str, tuple[Any, ...]]] = field(default_factory=list)


def read(term: str, *, may_see_payload: bool) -> Search:
    """Understand a search term.

    Raises:
        InvalidSearch
    """
    search, plain = Search(), []
    if list(codec.text_faults(term, "")):
        raise InvalidSearch("It holds a character that no id, key or payload can hold.")
    for word in WORD.findall(term):
        qualified = None if word.startswith('"') else QUALIFIED.fullmatch(word)
        if qualified is None or not is_qualifier(*qualified.group(1, 2)):
            plain.append(word.replace('"', ""))
            continue
        name, path, value = qualified.groups()
        take(search, name.lower(), path, value.replace('"', ""), is_quoted=value.startswith('"'))
    if search.payload and not may_see_payload:
        raise InvalidSearch("You may not see payloads, so you cannot search in them.")
    search.begins = " ".join(plain)
    return search


def covered(term: str) -> str:
    """A search term with a mask in the place of each value that it looks for in payloads."""
    return WORD.sub(lambda word: covered_word(word[0]), term)


def covered_word(word: str) -> str:
    """One word of it."""
    qualified = QUALIFIED.fullmatch(word)
    if qualified is None or qualified[1].lower() != "payload":
        return word
    return f"{qualified[1]}{qualified[2]}:{MASK}"


def is_qualifier(name: str, path: str) -> bool:
    """Whether a word with a colon is meant as a qualifier; a key may have colons too.

    Raises:
        InvalidSearch: it seems to be a misspelt one.
    """
    if name.lower() in QUALIFIERS:
        return True
    if name.lower() in ELSEWHERE:
        raise InvalidSearch(f"There is no qualifier {name}:. {ELSEWHERE[name.lower()]}")
    if close := get_close_matches(name.lower(), QUALIFIERS, n=1, cutoff=0.75):
        meant = f'Did you mean {close[0]}:? Put a key that begins so in quotes: "{name}{path}:".'
        raise InvalidSearch(f"There is no qualifier {name}{path}:. {meant}")
    return False


def take(search: Search, name: str, path: str, value: str, *, is_quoted: bool) -> None:
    """Take one qualifier into a search.

    Raises:
        InvalidSearch
    """
    if path and name != "payload":
        raise InvalidSearch(f"{name}: takes no path. Only payload has one, as in payload.user.id:7.")
    if not value:
        raise InvalidSearch(f"{name}{path}: needs a value right after the colon.")
    match name:
        case "payload":
            search.payload.append((path_of(path), values_of(value, is_quoted=is_quoted)))
        case "label":
            search.labels.append(label_of(value))
        case "pipeline":
            search.pipeline = pipeline_of(value)
        case _:
            setattr(search, PLAIN[name], value)


def path_of(path: str) -> str:
    """A path into the payload.

    Raises:
        InvalidSearch
    """
    names = path.removeprefix(".").split(".")
    if not all(names):
        raise InvalidSearch("payload needs the names of its fields, with points between them, as in payload.user.id:7.")
    if len(names) > DEEPEST:
        raise InvalidSearch(f"payload takes at most {DEEPEST} names.")
    return ".".join(names)


def values_of(value: str, *, is_quoted: bool) -> tuple[Any, ...]:
    """What a value in a payload may be: the text, and what it is as JSON."""
    if is_quoted:
        return (value,)
    try:
        parsed = json.loads(value)
    except (ValueError, RecursionError):
        return (value,)
    is_storable = (
        parsed is None or isinstance(parsed, bool | int) or (isinstance(parsed, float) and math.isfinite(parsed))
    )
    return (parsed, value) if is_storable else (value,)


def label_of(value: str) -> tuple[str, str]:
    """A label's name and value.

    Raises:
        InvalidSearch
    """
    name, sign, text = value.partition("=") if "=" in value else value.partition(":")
    if not sign or not name:
        raise InvalidSearch("label: needs a name and a value, as in label:tenant=acme.")
    return name, text


def pipeline_of(value: str) -> str:
    """The beginning of a pipeline's name.

    Raises:
        InvalidSearch: none begins so.
    """
    if not Pipeline.objects.filter(name__startswith=value).exists():
        raise InvalidSearch(f"No pipeline's name begins with “{value}”.")
    return value
