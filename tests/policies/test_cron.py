"""Schedules: daylight saving time, misfires, and refused expressions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskqueue.policies import Cron

HOUR = timedelta(hours=1)
BERLIN, NEW_YORK = "Europe/Berlin", "America/New_York"
SPRING = {BERLIN: (2026, 3, 29), NEW_YORK: (2026, 3, 8)}
AUTUMN = {BERLIN: (2026, 10, 25), NEW_YORK: (2026, 11, 1)}
# The hour that is skipped in spring, and the one that comes twice in autumn.
SKIPPED = {BERLIN: 2, NEW_YORK: 2}
TWICE = {BERLIN: 2, NEW_YORK: 1}
zones = pytest.mark.parametrize("zone", [BERLIN, NEW_YORK])


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type, misc]


def local_times(expression: str, zone: str, day: tuple[int, int, int]) -> list[str]:
    """The local times of a day's scheduled times, with their offsets from UTC."""
    midnight = datetime(*day, tzinfo=ZoneInfo(zone))
    times = Cron(expression, timezone=zone).times_between(
        midnight - timedelta(microseconds=1), midnight + timedelta(days=1) - timedelta(microseconds=1)
    )
    return [time.astimezone(ZoneInfo(zone)).strftime("%H:%M %z") for time in times]


def offsets(zone: str, day: tuple[int, int, int]) -> tuple[str, str]:
    """The offsets from UTC at the start and the end of a day."""
    return tuple(datetime(*day, hour, tzinfo=ZoneInfo(zone)).strftime("%z") for hour in (0, 12))  # type: ignore[return-value]


@zones
@pytest.mark.parametrize("minute", [0, 30, 59])
def test_a_skipped_fixed_time_runs_once_after_the_change(zone, minute):
    _, summer = offsets(zone, SPRING[zone])

    assert local_times(f"{minute} {SKIPPED[zone]} * * *", zone, SPRING[zone]) == [f"03:00 {summer}"]


@zones
def test_skipped_fixed_times_that_coincide_run_once(zone):
    _, summer = offsets(zone, SPRING[zone])

    assert local_times("0,30 2,3 * * *", zone, SPRING[zone]) == [f"03:00 {summer}", f"03:30 {summer}"]


@zones
@pytest.mark.parametrize("minute", ["00", "30"])
def test_a_repeated_fixed_time_runs_only_the_first_time(zone, minute):
    summer, _ = offsets(zone, AUTUMN[zone])

    assert local_times(f"{minute} {TWICE[zone]} * * *", zone, AUTUMN[zone]) == [f"0{TWICE[zone]}:{minute} {summer}"]


@zones
def test_a_fixed_time_is_not_due_in_the_repeated_hour(zone):
    cron = Cron(f"45 {TWICE[zone]} * * *", timezone=zone)
    again = datetime(*AUTUMN[zone], TWICE[zone], 30, fold=1, tzinfo=ZoneInfo(zone))

    time = cron.next_after(again)

    assert again < time.astimezone(UTC)
    assert time.astimezone(ZoneInfo(zone)).day == (again + timedelta(days=1)).day


@zones
def test_every_hour_is_every_real_hour(zone):
    winter, summer = offsets(zone, SPRING[zone])
    spring = local_times("0 * * * *", zone, SPRING[zone])
    autumn = local_times("0 * * * *", zone, AUTUMN[zone])

    assert len(spring) == 23
    assert spring[1:3] == [f"01:00 {winter}", f"03:00 {summer}"]
    assert len(autumn) == 25
    assert autumn[TWICE[zone] : TWICE[zone] + 2] == [f"0{TWICE[zone]}:00 {summer}", f"0{TWICE[zone]}:00 {winter}"]


@zones
@pytest.mark.parametrize("minutes", ["*/15", "0,15,30,45"])
def test_every_quarter_of_every_hour_is_every_real_quarter(zone, minutes):
    for day, count in ((SPRING[zone], 92), (AUTUMN[zone], 100)):
        start = datetime(*day, tzinfo=ZoneInfo(zone)).astimezone(UTC)

        times = Cron(f"{minutes} * * * *", timezone=zone).times_between(
            start - HOUR / 60, start + count * HOUR / 4 - HOUR / 60
        )

        assert times == [start + quarter * HOUR / 4 for quarter in range(count)]


@zones
def test_quarters_of_one_hour_are_skipped_and_repeated_with_it(zone):
    assert local_times(f"*/15 {SKIPPED[zone]} * * *", zone, SPRING[zone]) == []
    assert len(local_times(f"*/15 {TWICE[zone]} * * *", zone, AUTUMN[zone])) == 8


@given(
    expression=st.tuples(
        st.sampled_from(["0", "5", "30", "*/20", "0,59"]), st.sampled_from(["*", "1", "2", "3", "*/2", "0-4"])
    ).map(lambda parts: " ".join(parts) + " * * *"),
    zone=st.sampled_from([BERLIN, NEW_YORK]),
    start=st.integers(-(48 * 60), 48 * 60),
    season=st.sampled_from([SPRING, AUTUMN]),
)
def test_times_between_equals_repeated_next_after(expression, zone, start, season):
    cron = Cron(expression, timezone=zone)
    after = utc(*season[zone]) + timedelta(minutes=start)

    times = cron.times_between(after, after + 48 * HOUR)

    chain, moment = [], after
    while (moment := cron.next_after(moment)) <= after + 48 * HOUR:
        chain.append(moment)
    assert times == chain
    assert all(earlier < later for earlier, later in zip([after, *times], times, strict=False))
    assert all(time.tzinfo is UTC for time in times)


def test_a_leap_day_comes_in_leap_years():
    assert Cron("0 0 29 2 *").times_between(utc(2026, 1, 1), utc(2036, 12, 31)) == [
        utc(2028, 2, 29),
        utc(2032, 2, 29),
        utc(2036, 2, 29),
    ]


def test_either_day_is_enough_when_both_are_given():
    assert Cron("0 0 13 * FRI").times_between(utc(2026, 11, 10), utc(2026, 11, 20)) == [
        utc(2026, 11, 13),
        utc(2026, 11, 20),
    ]


def test_times_between_excludes_the_start_and_includes_the_end():
    cron = Cron("0 3 * * *")

    assert cron.next_after(utc(2026, 1, 1, 3)) == utc(2026, 1, 2, 3)
    assert cron.next_after(utc(2026, 1, 1, 2, 59, 59, 999_999)) == utc(2026, 1, 1, 3)
    assert cron.times_between(utc(2026, 1, 1, 3), utc(2026, 1, 2, 3)) == [utc(2026, 1, 2, 3)]
    assert cron.times_between(utc(2026, 1, 2, 3), utc(2026, 1, 1, 3)) == []


def test_the_limit_keeps_the_oldest_times():
    times = Cron("* * * * *").times_between(utc(2026, 1, 1), utc(2027, 1, 1), limit=2)

    assert times == [utc(2026, 1, 1, 0, 1), utc(2026, 1, 1, 0, 2)]


LAST, NOW = utc(2026, 1, 1, 0), utc(2026, 1, 1, 4, 30)


@pytest.mark.parametrize(
    ("misfire", "grace", "hours"),
    [
        ("all", timedelta(0), [1, 2, 3, 4]),
        ("once", timedelta(0), [4]),
        ("skip", timedelta(0), []),
        ("skip", timedelta(minutes=30), [4]),
        ("skip", timedelta(minutes=29), []),
        ("skip", timedelta(minutes=95), [3, 4]),
        ("skip", timedelta(days=3), [1, 2, 3, 4]),
    ],
)
def test_missed_times_run_by_the_misfire_policy(misfire, grace, hours):
    cron = Cron("0 * * * *", misfire=misfire)

    assert cron.due(LAST, NOW, grace=grace) == [utc(2026, 1, 1, hour) for hour in hours]


@pytest.mark.parametrize("misfire", ["all", "once", "skip"])
def test_nothing_is_due_before_the_next_time(misfire):
    cron = Cron("0 * * * *", misfire=misfire)

    assert cron.due(LAST, LAST + HOUR - timedelta(microseconds=1), grace=HOUR) == []
    assert cron.due(LAST, LAST + HOUR, grace=timedelta(0)) == [LAST + HOUR]
    assert cron.due(LAST, LAST - HOUR, grace=HOUR) == []


def test_after_a_long_outage_missed_times_come_in_batches():
    cron = Cron("* * * * *", misfire="all")

    first = cron.due(LAST, LAST + 24 * HOUR, grace=timedelta(0))
    second = cron.due(first[-1], LAST + 24 * HOUR, grace=timedelta(0))

    assert (len(first), len(second)) == (1000, 440)
    assert second[-1] == LAST + 24 * HOUR


@given(
    expression=st.sampled_from(["* * * * *", "*/7 * * * *", "30 2 * * *", "0 0 1 * *", "0 0 29 2 *", "* * * 1 *"]),
    seconds=st.integers(-10, 100_000),
    start=st.datetimes(datetime(2026, 1, 1), datetime(2029, 1, 1)),  # noqa: DTZ001 - hypothesis wants them naive
)
def test_misfire_once_runs_the_newest_time(expression, seconds, start):
    last = start.replace(tzinfo=UTC)
    now = last + timedelta(seconds=seconds)
    cron = Cron(expression, timezone=BERLIN, misfire="once")

    assert cron.due(last, now, grace=timedelta(0)) == cron.times_between(last, now, limit=100_000)[-1:]


def test_misfire_once_is_fast_after_years_of_minutes():
    cron = Cron("* * * 1 *", misfire="once")

    assert cron.due(utc(1980, 1, 1), utc(2026, 12, 1), grace=timedelta(0)) == [utc(2026, 1, 31, 23, 59)]


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("", "not five fields"),
        ("@reboot", "or one of @yearly"),
        ("* * * *", "not five fields"),
        ("0 * * * * *", "not five fields"),
        ("* * * * " + "1," * 100 + "1", "at most 200"),
        ("61 * * * *", 'The minute .* is "61"; it takes 0-59'),
        ("0 24 * * *", 'The hour .* is "24"; it takes 0-23'),
        ("0 0 32 * *", 'The day of the month .* is "32"'),
        ("0 0 * FOO *", 'The month .* is "FOO"'),
        ("0 0 * * 8", 'The day of the week .* is "8"'),
        ("*/0 * * * *", r'The minute .* is "\*/0"'),
        ("0 5-1 * * *", 'The hour .* is "5-1"'),
        ("0 0 30 2 *", "never fires"),
        ("0 0 31 4,6,9,11 *", "never fires"),
    ],
)
def test_an_invalid_expression_is_refused_with_its_field(expression, says):
    with pytest.raises(ValueError, match=says):
        Cron(expression)


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("@yearly", "0 0 1 1 *"),
        ("@annually", "0 0 1 1 *"),
        ("@monthly", "0 0 1 * *"),
        ("@weekly", "0 0 * * 0"),
        ("@daily", "0 0 * * *"),
        ("@midnight", "0 0 * * *"),
        ("@hourly", "0 * * * *"),
    ],
)
def test_an_alias_stands_for_its_five_fields(name, fields):
    assert Cron(name) == Cron(fields)


@pytest.mark.parametrize("expression", ["0 0 L * *", "0 0 LW * *", "0 0 * * 5L", "0 0 * * mon#2", "0 0 * jan-mar 1-5"])
def test_names_and_last_days_are_accepted(expression):
    assert Cron(expression).next_after(LAST) > LAST


@pytest.mark.parametrize("zone", ["", "Mars/Olympus", "America", "../etc/passwd", "/etc/passwd", "zone.tab", "a\0b"])
def test_an_unknown_time_zone_is_refused(zone):
    with pytest.raises(ValueError, match="is not known; write its IANA name"):
        Cron("0 0 * * *", timezone=zone)


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (lambda cron: cron.next_after(datetime(2026, 1, 1)), "has no time zone"),  # noqa: DTZ001
        (lambda cron: cron.times_between(LAST, datetime(2026, 1, 1)), "has no time zone"),  # noqa: DTZ001
        (lambda cron: cron.times_between(LAST, NOW, limit=0), "limit is a whole number"),
        (lambda cron: cron.due(LAST, NOW, grace=timedelta(seconds=-1)), "grace is not negative"),
    ],
)
def test_invalid_arguments_are_refused(ask, says):
    with pytest.raises(ValueError, match=says):
        ask(Cron("0 0 * * *"))


def test_an_unknown_misfire_policy_is_refused():
    with pytest.raises(ValueError, match='misfire is "skip", "once" or "all"'):
        Cron("0 0 * * *", misfire="never")  # type: ignore[arg-type]
