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


def objects_named_in(code: CodeType, names: dict[str, Any]) -> Iterator[object]:
    """The objects that a code object loads by name, in source order, nested functions and comprehensions included."""
    module: object = None
    for instruction in dis.get_instructions(code):
        value = instruction.argval
        if isinstance(value, CodeType):
            yield from objects_named_in(value, names)
        elif instruction.opname in {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF"}:
            module = names.get(value)
            yield module
        elif instruction.opname in {"LOAD_ATTR", "LOAD_METHOD"} and isinstance(module, ModuleType):
            module = getattr(module, value, None)
            yield module
