"""Whatever threads claim at once: slots stay free, and no task waits next to a thread that may take it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskqueue.engine.worker.reserved_slots import ReservedSlots
from tests.support.properties import examples
from tests.support.reserved_slots import Thread, begin, get

QUEUES = ("urgent", "mail", "default")


@dataclass
class Process:
    """The threads of a process and the tasks that wait, as `pool/threads/worker_threads.py` wakes and ends threads."""

    threads: int
    reserved: dict[str, int]
    waiting: Counter[str] = field(default_factory=Counter)
    woken: set[int] = field(default_factory=set)
    claiming: dict[int, tuple[str, ...] | None] = field(default_factory=dict)
    may_be_more: bool = False

    def __post_init__(self) -> None:
        slots = ReservedSlots(self.reserved, on_room=self.wake_refused)
        self.slots = [slots.add_thread(Thread()) for _ in range(self.threads)]
        self.shared = slots

    def idle(self) -> list[int]:
        return [
            number
            for number, slot in enumerate(self.slots)
            if slot.queue is None and number not in self.woken and number not in self.claiming
        ]

    def wake_refused(self) -> None:
        self.woken |= set([number for number in self.idle() if self.slots[number].could_claim_more()][:1])

    def add(self, queue: str) -> None:
        self.waiting[queue] += 1
        self.may_be_more = True
        self.woken |= set(self.idle()[:1])

    def begin(self, number: int) -> None:
        self.woken.discard(number)
        allowed = begin(self.slots[number], most=2)
        if allowed == ():
            self.end_idle(number)
        else:
            self.claiming[number] = allowed

    def resolve(self, number: int, choice: int) -> None:
        allowed = self.claiming.pop(number)
        found: list[str] = []
        for _ in range(2 if allowed is None else 1):
            if there := [queue for queue in QUEUES if self.waiting[queue] and (allowed is None or queue in allowed)]:
                found.append(there[choice % len(there)])
                self.waiting[found[-1]] -= 1
        get(self.slots[number], *found)
        if not found:
            self.end_idle(number)
        elif self.may_be_more:
            self.woken |= set(self.idle()[:1])

    def end_idle(self, number: int) -> None:
        if self.slots[number].could_claim_more():
            self.woken.add(number)
        else:
            self.may_be_more = False

    def settle_down(self) -> None:
        for _ in range(1000):
            if self.woken:
                self.begin(min(self.woken))
            elif self.claiming:
                self.resolve(min(self.claiming), 0)
            else:
                return
        raise AssertionError("threads are woken for ever")

    def check(self) -> None:
        used = Counter(slot.queue for slot in self.slots)
        free = sum(slot.queue is None for slot in self.slots)
        assert free >= sum(max(0, number - used[queue]) for queue, number in self.reserved.items())
        allowed = self.shared.queues_for() if free else ()
        assert not [queue for queue in QUEUES if self.waiting[queue] and (allowed is None or queue in allowed)]


@pytest.mark.property
@given(
    threads=st.integers(1, 6),
    reserved=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    choices=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 11)), max_size=80),
)
@settings(max_examples=examples(3000), deadline=None)
def test_slots_stay_free_and_no_task_waits_for_a_free_thread(threads, reserved, choices):
    slots = {queue: number for queue, number in zip(QUEUES, reserved, strict=False) if number}
    while sum(slots.values()) > threads:
        slots.popitem()
    state = Process(threads, slots)
    for kind, choice in choices:
        executing = [
            number for number, slot in enumerate(state.slots) if slot.queue is not None and number not in state.claiming
        ]
        if kind == 0:
            state.add(QUEUES[choice % 3])
        elif kind == 1 and state.woken:
            state.begin(sorted(state.woken)[choice % len(state.woken)])
        elif kind == 2 and state.claiming:
            state.resolve(sorted(state.claiming)[choice % len(state.claiming)], choice)
        elif kind == 3 and executing:
            state.begin(executing[choice % len(executing)])
    state.settle_down()

    state.check()
