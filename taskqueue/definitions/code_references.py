"""Which objects the code of a function refers to."""

from __future__ import annotations

import dis
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import CodeType, ModuleType
from typing import Any


def visible_names(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the globals of a function and its closure."""
    names = dict(function.__globals__)
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):  # the variable is not assigned yet, or deleted
            names[name] = cell.cell_contents
    return names


def referenced_objects(code: CodeType, names: dict[str, Any]) -> list[object]:
    """Return the objects that the code loads by name, in source order, nested functions included."""
    # Python 3.12 and later order the code of handlers and comprehensions differently from the source.
    return [found for _position, found in sorted(loads_of(code, names), key=lambda load: load[0])]


def loads_of(code: CodeType, names: dict[str, Any]) -> Iterator[tuple[tuple[int, int], object]]:
    """Yield each object that the code loads by name, with its line and column."""
    module: object = None
    for instruction in dis.get_instructions(code):
        value, positions = instruction.argval, instruction.positions
        position = (0, 0) if positions is None else (positions.lineno or 0, positions.col_offset or 0)
        if isinstance(value, CodeType):
            yield from loads_of(value, names)
        elif instruction.opname in {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF"}:
            module = names.get(value)
            yield position, module
        elif instruction.opname in {"LOAD_ATTR", "LOAD_METHOD"} and isinstance(module, ModuleType):
            module = getattr(module, value, None)
            yield position, module
