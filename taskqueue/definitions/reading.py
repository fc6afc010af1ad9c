"""Reading code: which objects a function's code refers to."""

from __future__ import annotations

import dis
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import CodeType, ModuleType
from typing import Any


def names_in_reach_of(function: Callable[..., Any]) -> dict[str, Any]:
    """The globals of a function and what it closes over."""
    names = dict(function.__globals__)
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):  # a variable that is not assigned yet, or no more
            names[name] = cell.cell_contents
    return names


def objects_named_in(code: CodeType, names: dict[str, Any]) -> list[object]:
    """The objects that a code object loads by name, in source order, nested functions and comprehensions included."""
    # Python 3.12 and later put the code of handlers and comprehensions elsewhere than it stands in the source.
    return [found for _place, found in sorted(loads_of(code, names), key=lambda load: load[0])]


def loads_of(code: CodeType, names: dict[str, Any]) -> Iterator[tuple[tuple[int, int], object]]:
    """Each object that a code object loads by name, with the line and column where it is named."""
    module: object = None
    for instruction in dis.get_instructions(code):
        value, positions = instruction.argval, instruction.positions
        place = (0, 0) if positions is None else (positions.lineno or 0, positions.col_offset or 0)
        if isinstance(value, CodeType):
            yield from loads_of(value, names)
        elif instruction.opname in {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF"}:
            module = names.get(value)
            yield place, module
        elif instruction.opname in {"LOAD_ATTR", "LOAD_METHOD"} and isinstance(module, ModuleType):
            module = getattr(module, value, None)
            yield place, module
