"""Whether a pipeline's body returns as soon as the step that it calls returns, read from its bytecode.

If so, the step's checkpoint can be held, and be written with the end of the task (docs/adr/0011-the-last-step.md).
"""

from __future__ import annotations

import dis
from datetime import timedelta
from functools import lru_cache
from types import CodeType, FrameType, FunctionType, ModuleType
from typing import Final, NamedTuple

CALLER: Final = "taskqueue.engine.execution.run"
"""The module that calls the body."""

HARMLESS: Final = frozenset(
    {
        "NOP",
        "EXTENDED_ARG",
        "POP_TOP",
        "COPY",
        "SWAP",
        "LOAD_CONST",
        "LOAD_SMALL_INT",
        "LOAD_FAST",
        "LOAD_FAST_CHECK",
        "LOAD_FAST_BORROW",
        "LOAD_FAST_LOAD_FAST",
        "LOAD_FAST_BORROW_LOAD_FAST_BORROW",
        "STORE_FAST",
        "STORE_FAST_LOAD_FAST",
        "STORE_FAST_STORE_FAST",
        "BUILD_TUPLE",
        "BUILD_LIST",
        "BUILD_MAP",
        "BUILD_CONST_KEY_MAP",
    }
)
"""Instructions that only move values: none calls a function, loops or waits."""

CALLS: Final = frozenset({"CALL", "CALL_KW", "CALL_FUNCTION_EX"})

PARTS_OF_A_CALL: Final = frozenset(
    {
        "PUSH_NULL",
        "PRECALL",
        "KW_NAMES",
        "LOAD_CONST",
        "BUILD_TUPLE",
        "BUILD_LIST",
        "BUILD_MAP",
        "BUILD_CONST_KEY_MAP",
        "LIST_APPEND",
        "LIST_EXTEND",
        "LIST_TO_TUPLE",
        "DICT_MERGE",
        "CALL_INTRINSIC_1",
    }
)
"""Instructions that have the position of a call itself: they arrange its arguments."""

SKIPPED: Final = frozenset({"NOP", "EXTENDED_ARG", "CACHE", "PUSH_NULL"})

GLOBAL_LOADS: Final = frozenset({"LOAD_GLOBAL", "LOAD_NAME"})

LOCAL_LOADS: Final = frozenset(
    {"LOAD_NAME", "LOAD_FAST", "LOAD_FAST_CHECK", "LOAD_FAST_BORROW", "LOAD_DEREF", "LOAD_CLOSURE"}
)

ATTRIBUTE_LOADS: Final = frozenset({"LOAD_ATTR", "LOAD_METHOD"})

RETURNS: Final = frozenset({"RETURN_VALUE", "RETURN_CONST"})

LONGEST: Final = timedelta(seconds=1)
"""A step that takes longer is recorded at once: one more commit is nothing to it, and a repetition much."""

LARGEST: Final = 16_384
"""Characters. Larger values are recorded at once: PostgreSQL may refuse them, which is a failed attempt of the step."""


class Callee(NamedTuple):
    """Where code loads what it calls: a variable, or an attribute of a module in a variable."""

    load: str
    variable: str
    attribute: str | None

    def find(self, frame: FrameType) -> object:
        """What the frame calls; None if it is not found. Builtins are not looked up, since none is a step."""
        found: object = None
        if self.load in LOCAL_LOADS:
            found = frame.f_locals.get(self.variable)
        if found is None and self.load in GLOBAL_LOADS:
            found = frame.f_globals.get(self.variable)
        if self.attribute is None:
            return found
        return vars(found).get(self.attribute) if type(found) is ModuleType else None


def ends_with_this_call(called: FrameType) -> bool:
    """Whether every function that waits for this call returns right after it, up to the engine that called the body.

    So `return step(x)` does, as do `step(x)` in the last line and `y = step(x); return {"y": y}`. A loop, a `with`, an
    await or any other call makes it False, and so does a step that is called in a thread of the body's own, or by a
    function that is not written in Python, such as `map`, which may go on afterwards.

    Args:
        called: the frame of what the body calls.
    """
    frame = called.f_back
    while frame is not None and frame.f_globals.get("__name__") != CALLER:
        callee = last_callee(frame.f_code, frame.f_lasti)
        if callee is None or not executes(callee.find(frame), called.f_code):
            return False
        called, frame = frame, frame.f_back
    return frame is not None


def executes(callee: object, code: CodeType) -> bool:
    """Whether a call of this object is a call of this code, with no other function in between."""
    function = callee if isinstance(callee, FunctionType) else getattr(type(callee), "__call__", None)  # noqa: B004
    return isinstance(function, FunctionType) and function.__code__ is code


@lru_cache(maxsize=4096)
def last_callee(code: CodeType, offset: int) -> Callee | None:
    """What code calls at an offset; None if it is unknown, or if more follows the call than moving values."""
    instructions = list(dis.get_instructions(code))
    before = [instruction for instruction in instructions if instruction.offset <= offset]
    return callee_of(before) if returns(instructions[len(before) :]) else None


def returns(instructions: list[dis.Instruction]) -> bool:
    """Whether these instructions only move values until they return."""
    rest = (instruction.opname for instruction in instructions if instruction.opname not in HARMLESS)
    return next(rest, None) in RETURNS


def callee_of(instructions: list[dis.Instruction]) -> Callee | None:
    """What the last one of these instructions calls, found by its position in the source; None if it is unknown.

    What is called begins where the call begins. Nothing else does, but for what belongs to the call itself.
    """
    *before, call = instructions
    if call.opname not in CALLS or call.positions is None or None in call.positions:
        return None
    loads: list[dis.Instruction] = []
    for instruction in before:
        at = instruction.positions
        if loads and instruction.opname.startswith("STORE") and loads[0].argval in as_names(instruction.argval):
            return None
        if at is None or (at.lineno, at.col_offset) != (call.positions.lineno, call.positions.col_offset):
            continue
        if instruction.opname in (PARTS_OF_A_CALL if at == call.positions else SKIPPED):
            continue
        loads.append(instruction)
    if not loads or loads[0].opname not in GLOBAL_LOADS | LOCAL_LOADS:
        return None
    variable, *attributes = loads
    if [attribute.opname in ATTRIBUTE_LOADS for attribute in attributes] not in ([], [True]):
        return None
    return Callee(variable.opname, variable.argval, attributes[0].argval if attributes else None)


def as_names(argument: object) -> tuple[object, ...]:
    """The variables that an instruction names; those of Python 3.13 may name two."""
    return argument if isinstance(argument, tuple) else (argument,)


def is_worth_holding(elapsed: timedelta, *texts: str | None) -> bool:
    """Whether the checkpoint of a step that took so long, with these values, is held."""
    return elapsed < LONGEST and sum(len(text or "") for text in texts) <= LARGEST
