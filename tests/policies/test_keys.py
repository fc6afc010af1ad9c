"""Key templates, and the matching of events."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from taskqueue.policies import (
    KEY_MAX,
    KeyTemplate,
    check_match,
    digest_for,
    match_digest,
    match_fields,
    matches,
)

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from([-1.0, -0.0, 0.5, 1.0, 1e23])
    | st.text("ab1", max_size=2)
)
names = st.sampled_from(["a", "b", "0", "1"])
documents = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3), max_leaves=12
)
paths = st.lists(names, min_size=1, max_size=3).map(".".join)


def paths_in(data: Any, prefix: str = "") -> dict[str, Any]:
    """Every path in a document, with its value."""
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    places = {}
    for name, item in items:
        places[f"{prefix}{name}"] = item
        places |= paths_in(item, f"{prefix}{name}.")
    return places


def equal(left: Any, right: Any) -> bool:
    """Equality of JSON, by another algorithm than the code's."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(equal, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(equal(left[name], right[name]) for name in left)
    return bool(left == right)


@st.composite
def matches_and_data(draw) -> tuple[dict[str, Any], Any]:
    """A match, often with paths and values of the data itself."""
    data = draw(documents)
    places = paths_in(data)
    match = draw(st.dictionaries(paths, documents, max_size=2))
    for path in draw(st.lists(st.sampled_from(sorted(places)), max_size=3)) if places else []:
        match[path] = draw(st.just(places[path]) | documents)
    return match, data


@given(case=matches_and_data())
@example(case=({}, None))
@example(case=({"a": True}, {"a": 1}))
@example(case=({"a": [1, {"b": 2.0}]}, {"a": [1.0, {"b": 2}]}))
def test_data_matches_exactly_when_the_digests_are_equal(case):
    match, data = case
    places = paths_in(data)
    check_match(match)

    assert matches(match, data) == (digest_for(match_fields(match), data) == match_digest(match))
    assert matches(match, data) == all(path in places and equal(places[path], match[path]) for path in match)


@given(case=matches_and_data())
def test_a_digest_survives_a_round_trip_through_json(case):
    match, data = case
    fields = match_fields(match)

    assert match_digest(json.loads(json.dumps(match))) == match_digest(match)
    assert digest_for(fields, json.loads(json.dumps(data))) == digest_for(fields, data)


@given(number=st.integers(-(2**53), 2**53))
def test_a_whole_float_matches_as_its_integer_does(number):
    assert matches({"a": number}, {"a": float(number)})
    assert match_digest({"a": number}) == match_digest({"a": float(number)})


def test_large_numbers_compare_as_in_postgresql():
    # jsonb keeps 1e23 as the decimal number, and gives back an integer.
    assert matches({"a": 1e23}, {"a": 10**23})
    assert not matches({"a": 2**53}, {"a": 2**53 + 1})


@pytest.mark.parametrize(
    ("match", "data"),
    [
        ({"a": None}, {}),
        ({"a": 1}, {"a": True}),
        ({"a": 0}, {"a": False}),
        ({"a": "1"}, {"a": 1}),
        ({"a.0": 1}, {"a": []}),
        ({"a.-1": 1}, {"a": [1]}),
        ({"a": {"b": 1}}, {"a": {"b": 1, "c": 2}}),
        ({"a": 1}, "a"),
    ],
)
def test_a_missing_value_or_another_type_does_not_match(match, data):
    assert not matches(match, data)
    assert digest_for(match_fields(match), data) != match_digest(match)


def test_an_empty_match_has_no_fields_and_matches_everything():
    assert match_fields({}) == ""
    assert matches({}, None)
    assert digest_for("", {"a": 1}) == match_digest({})


def test_the_order_of_paths_does_not_matter():
    assert match_fields({"b": 1, "a": 2}) == "a,b" == match_fields({"a": 2, "b": 1})
    assert match_digest({"b": 1, "a": 2}) == match_digest({"a": 2, "b": 1})
    assert match_digest({"a": 1, "b": 2}) != match_digest({"b": 1, "a": 2})


@pytest.mark.parametrize(
    ("match", "says"),
    [
        ({"a,b": 1}, "holds a comma"),
        ({"": 1}, "empty part"),
        ({"a..b": 1}, "empty part"),
        ({"a\0": 1}, "cannot be stored"),
        ({"a": object()}, "is not JSON"),
        ({"a": {1: 2}}, "is not JSON"),
        ({"a": [float("nan")]}, "is not JSON"),
        ({"a": "\ud800"}, "is not JSON"),
        ({str(number): 1 for number in range(11)}, "at most 10 paths"),
        ({"a" * 1_501: 1}, "at most 1,500 bytes"),
    ],
)
def test_an_invalid_match_is_refused(match, says):
    with pytest.raises(ValueError, match=says):
        check_match(match)


def test_a_recursive_match_is_refused():
    endless: list[Any] = []
    endless.append(endless)

    with pytest.raises(ValueError, match="is not JSON"):
        check_match({"a": endless})


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("{tenant}", "acme"),
        ("{order.customer}:{labels.region}", "7:eu"),
        ("{order.items.1.name}", "b"),
        ("{order.items.2.name}", ""),
        ("{order.items.name}", ""),
        ("{region}", "eu"),
        ("{labels.k8s.io/zone}", "z1"),
        ("{nothing}-{none}", "-"),
        ("{yes}/{no}", "true/false"),
        ("{half}", "0.5"),
        ("{order}", '{"customer":7,"items":[{"name":"a"},{"name":"b"}]}'),
        ("{{{tenant}}}", "{acme}"),
    ],
)
def test_a_template_uses_the_payload_then_the_labels(text, key):
    values = {
        "tenant": "acme",
        "order": {"items": [{"name": "a"}, {"name": "b"}], "customer": 7},
        "none": None,
        "yes": True,
        "no": False,
        "half": 0.5,
    }
    labels = {"region": "eu", "k8s.io/zone": "z1", "none": "not asked for", "tenant": "not asked for"}

    assert KeyTemplate(text).render(values, labels) == key


def test_labels_in_the_payload_hide_the_tasks_labels():
    assert KeyTemplate("{labels.region}").render({"labels": {"region": "own"}}, {"region": "eu"}) == "own"
    assert KeyTemplate("{labels.region}").render({"labels": {}}, {"region": "eu"}) == ""


def test_a_template_lists_each_field_once_in_order():
    assert KeyTemplate("{b.c}:{a}:{b.c}").fields == ("b.c", "a")


@given(text=st.text(st.characters(codec=None), max_size=400))
def test_a_key_is_storable_and_within_its_limit(text):
    key = KeyTemplate("{a}").render({"a": text}, {})

    assert len(key) <= KEY_MAX
    assert "\0" not in key
    assert key.encode().decode() == key


@given(
    start=st.text("ab", min_size=200, max_size=210),
    ends=st.tuples(st.text("ab", max_size=3), st.text("ab", max_size=3)),
)
def test_long_keys_with_different_ends_stay_different(start, ends):
    assume(ends[0] != ends[1])

    short, other = (KeyTemplate("{a}x").render({"a": start + end}, {}) for end in ends)

    assert short != other
    assert short[:161] == other[:161] == start[:160] + ":"
    assert len(short) == 193


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "has no field"),
        ("tenant", "has no field"),
        ("{{tenant}}", "has no field"),
        ("{}", "is empty"),
        ("{0}", "is a position"),
        ("{0.name}", "is a position"),
        ("{a!r}", "conversion or format"),
        ("{a:>3}", "conversion or format"),
        ("{a:{b}}", "conversion or format"),
        ("{a:}", "leave out the colon"),
        ("{a", "unbalanced braces"),
        ("a}", "unbalanced braces"),
        ("{a{b}}", "unbalanced|brackets"),
        ("{a[0]}", "has brackets"),
        ("{a..b}", "empty part"),
        ("{a.}", "empty part"),
        ("{ a }", "spaces"),
        ("{a}\0", "cannot be stored"),
        ("{a}" + "x" * 200, "at most 200"),
    ],
)
def test_an_invalid_template_is_refused_at_definition(text, says):
    with pytest.raises(ValueError, match=says):
        KeyTemplate(text)
