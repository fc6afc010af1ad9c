"""Triggers, debounce, batch, singleton and cancellation by events."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskqueue.policies import (
    Batch,
    CancelOn,
    Debounce,
    KeyTemplate,
    On,
    Singleton,
    check_match,
    is_event_name,
    match_fields,
    matches,
)

SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    "make",
    [
        lambda key: Debounce(SECOND, key=key),
        lambda key: Batch(2, wait=SECOND, key=key),
        lambda key: Singleton(key=key),
    ],
)
def test_a_policy_has_the_template_of_its_key(make):
    assert make("{tenant}").template == KeyTemplate("{tenant}")
    assert make("").template is None


@pytest.mark.parametrize("name", ["a", "demo/task.requested", "größe", "a" * 200])
def test_printable_text_without_spaces_is_an_event_name(name):
    assert is_event_name(name)
    assert On(name).event == CancelOn(name).event == name


@pytest.mark.parametrize("name", ["", "a b", "a\tb", "a\n", "a\0", "\ud800", "a\u00a0b", "a" * 201])
def test_other_text_is_no_event_name(name):
    assert not is_event_name(name)
    for kind in (On, CancelOn):
        with pytest.raises(ValueError, match="printable characters and no spaces"):
            kind(name)


def test_the_match_of_an_event_is_immutable():
    written: dict[str, Any] = {"order": {"status": "paid"}}
    on = On("order", match=written)

    written["order"]["status"] = "open"

    assert on.match == {"order": {"status": "paid"}}
    with pytest.raises(TypeError):
        on.match["order"] = 1


def test_triggers_are_compared_by_value():
    assert On("a", match={"b": [1]}) == On("a", match={"b": [1]})
    assert On("a", match={"b": [1]}) != On("a", match={"b": [2]})
    assert len({On("a", match={"b": [1]}), On("a", match={"b": [1]}), CancelOn("a")}) == 2


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("{order_id}", 7),
        ("{order}", {"lines": [1, 2]}),
        ("{order.lines.1}", 2),
        ("{urgent}", True),
        ("{missing}", None),
        ("{labels.region}", "eu"),
        ("{region}", "eu"),
        ("order-{order_id}", "order-7"),
        ("{order_id}{region}", "7eu"),
        ("{long}.", "x" * 300 + "."),
    ],
)
def test_a_bound_cancel_match_keeps_the_json_type_of_a_field(template, value):
    payload = {"order_id": 7, "order": {"lines": [1, 2]}, "urgent": True, "long": "x" * 300}

    bound = CancelOn("order/cancelled", match={"id": template}).bound(payload, {"region": "eu"})

    assert bound == {"id": value}
    assert type(bound["id"]) is type(value)


@given(payload=st.dictionaries(st.sampled_from("ab"), st.none() | st.booleans() | st.integers() | st.text()))
def test_a_bound_match_matches_an_event_that_repeats_the_payload(payload):
    cancel = CancelOn("x", match={"a": "{a}", "b": "{b}"})

    bound = cancel.bound(payload, {})

    assert match_fields(bound) == match_fields(cancel.match) == "a,b"
    assert matches(bound, {"a": payload.get("a"), "b": payload.get("b")})


def test_a_bound_match_passes_the_check():
    check_match(CancelOn("x", match={"a": "{a}-{b}"}).bound({"a": "\0", "b": "\ud800"}, {}))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Debounce(timedelta(0)), "wait is from 1 millisecond to 7 days"),
        (lambda: Debounce(timedelta(days=8)), "wait is from 1 millisecond to 7 days"),
        (lambda: Debounce(True), "wait is a timedelta"),  # noqa: FBT003
        (lambda: Debounce(SECOND, longest=SECOND / 2), "at least as long as wait"),
        (lambda: Debounce(SECOND, longest=timedelta(days=367)), "longest is from 1 millisecond to 366 days"),
        (lambda: Debounce(SECOND, key="{0}"), "is a position"),
        (lambda: Batch(1, wait=SECOND), "size is a whole number from 2 to 10,000"),
        (lambda: Batch(10_001, wait=SECOND), "size is a whole number from 2 to 10,000"),
        (lambda: Batch(2, wait=timedelta(days=8)), "wait is from"),
        (lambda: Batch(2, wait=SECOND, key="{"), "unbalanced braces"),
        (lambda: Singleton(mode="replace"), 'mode is "skip" or "cancel"'),  # type: ignore[arg-type]
        (lambda: Singleton(key="tenant"), "has no field"),
        (lambda: On("a", match={"a,b": 1}), "holds a comma"),
        (lambda: On("a", key="{a"), "unbalanced braces"),
        (lambda: On("a", force="force"), "without a key"),
        (lambda: On("a", key="{a}", force="a..b"), "an empty part"),
        (lambda: On("a", match={"a": object()}), "is not JSON"),
        (lambda: CancelOn("a", match={"a,b": "{a}"}), "holds a comma"),
        (lambda: CancelOn("a", match={"a": "order_id"}), "has no field"),
    ],
)
def test_an_invalid_policy_is_refused_at_definition(make, says):
    with pytest.raises(ValueError, match=says):
        make()


def test_a_debounce_accepts_longest_equal_to_wait():
    assert Debounce(SECOND, longest=SECOND).longest == SECOND


@pytest.mark.parametrize(
    ("data", "key"),
    [({"id": "a"}, "order-a"), ({"id": 7}, "order-7"), ({"id": None}, ""), ({}, ""), ({"other": 1}, "")],
)
def test_a_trigger_key_comes_from_the_data(data, key):
    assert On("order/paid", key="order-{id}").key_for(data) == key


@pytest.mark.parametrize(("data", "forced"), [({"force": True}, True), ({"force": "true"}, False), ({}, False)])
def test_only_true_forces_a_new_task(data, forced):
    on = On("order/paid", key="{id}", force="force")

    assert on.is_forced_by(data) is forced
    assert not On("order/paid", key="{id}").is_forced_by(data)
