"""The syntax of the task list's search box: a prefix of an id or key, and qualifiers such as `error:Type`."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

from taskqueue.engine.queries.filters import TaskFilter
from taskqueue.json_values import codec
from taskqueue.masks import MASK
from taskqueue.models import Pipeline

PLACEHOLDER = "ID or key, or error: pipeline: step: label: payload.field:"
HELP = (
    "Search by ID or key prefix (case-sensitive), or use key:part, error:Type, pipeline:name, step:name, worker:host, "
    'label:name=value, payload.field.field:value. Quotes keep words together: error:"Bad Gateway".'
)
QUALIFIERS = ("error", "pipeline", "step", "key", "worker", "label", "payload")
FIELDS = {"error": "error_prefix", "step": "step", "key": "key_words", "worker": "worker"}
"""The field of `TaskFilter` for each qualifier whose value needs no parsing."""
NOT_QUALIFIERS = {
    "status": "Choose a status in the tabs above the list.",
    "created": "Choose a time in the filters or in the histogram.",
    "id": "Type the beginning of the ID without a qualifier.",
}
WORD = re.compile(r'(?:[^\s"]|"[^"]*"?)+')
QUALIFIED = re.compile(r"([A-Za-z_]+)((?:\.[^:\s\"]*)?):(.*)", re.DOTALL)
MAX_PATH = 10
NO_FILTER = TaskFilter()


class InvalidSearch(Exception):
    """The search term is invalid; the message says why."""


def parse(term: str, filtered: TaskFilter = NO_FILTER, *, may_see_payload: bool) -> TaskFilter:
    """Add the conditions of a search term to a filter. Raises InvalidSearch."""
    prefix = []
    if list(codec.text_errors(term, "")):
        raise InvalidSearch("The search has a character that no id, key or payload can have.")
    for word in WORD.findall(term):
        qualified = None if word.startswith('"') else QUALIFIED.fullmatch(word)
        if qualified is None or not is_qualifier(*qualified.group(1, 2)):
            prefix.append(word.replace('"', ""))
            continue
        name, path, value = qualified.groups()
        is_quoted = value.startswith('"')
        filtered = with_qualifier(filtered, name.lower(), path, value.replace('"', ""), is_quoted=is_quoted)
    if filtered.payload and not may_see_payload:
        raise InvalidSearch("You may not see payloads, so you cannot search in them.")
    return replace(filtered, id_or_key_prefix=" ".join(prefix))


def redacted(term: str) -> str:
    return WORD.sub(lambda word: redacted_word(word[0]), term)


def redacted_word(word: str) -> str:
    qualified = QUALIFIED.fullmatch(word)
    if qualified is None or qualified[1].lower() != "payload":
        return word
    return f"{qualified[1]}{qualified[2]}:{MASK}"


def is_qualifier(name: str, path: str) -> bool:
    """Whether a word with a colon is a qualifier, not part of a key. InvalidSearch: it looks like a misspelt one."""
    if name.lower() in QUALIFIERS:
        return True
    if name.lower() in NOT_QUALIFIERS:
        raise InvalidSearch(f"There is no qualifier {name}:. {NOT_QUALIFIERS[name.lower()]}")
    if close := get_close_matches(name.lower(), QUALIFIERS, n=1, cutoff=0.75):
        hint = f'Did you mean {close[0]}:? If it is a key, put it in quotes: "{name}{path}:".'
        raise InvalidSearch(f"There is no qualifier {name}{path}:. {hint}")
    return False


def with_qualifier(filtered: TaskFilter, name: str, path: str, value: str, *, is_quoted: bool) -> TaskFilter:
    if path and name != "payload":
        raise InvalidSearch(f"{name}: takes no path. Only payload has one, as in payload.user.id:7.")
    if not value:
        raise InvalidSearch(f"{name}{path}: needs a value right after the colon.")
    match name:
        case "payload":
            condition = (path_of(path), values_of(value, is_quoted=is_quoted))
            return replace(filtered, payload=(*filtered.payload, condition))
        case "label":
            return replace(filtered, labels=(*filtered.labels, label_of(value)))
        case "pipeline":
            return replace(filtered, pipeline_prefix=pipeline_prefix_of(value))
        case _:
            found: dict[str, Any] = {FIELDS[name]: value}
            return replace(filtered, **found)


def path_of(path: str) -> str:
    names = path.removeprefix(".").split(".")
    if not all(names):
        raise InvalidSearch("payload needs field names joined by dots, as in payload.user.id:7.")
    if len(names) > MAX_PATH:
        raise InvalidSearch(f"payload takes at most {MAX_PATH} field names.")
    return ".".join(names)


def values_of(value: str, *, is_quoted: bool) -> tuple[Any, ...]:
    """The values that match: the text, and its value as JSON."""
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
    """A label's name and value, from `name=value` or `name:value`."""
    name, sign, text = value.partition("=") if "=" in value else value.partition(":")
    if not sign or not name:
        raise InvalidSearch("label: needs a name and a value, as in label:tenant=acme.")
    return name, text


def pipeline_prefix_of(value: str) -> str:
    if not Pipeline.objects.filter(name__startswith=value).exists():
        raise InvalidSearch(f"No pipeline's name begins with “{value}”.")
    return value
