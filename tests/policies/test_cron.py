"""Ticks of the clock: summer time, misfires, and expressions that are refused."""

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


def on_the_wall(expression: str, zone: str, day: tuple[int, int, int]) -> list[str]:
    """What the clock on the wall shows at the ticks of a day, with its distance from UTC."""
    midnight = datetime(*day, tzinfo=ZoneInfo(zone))
    ticks = Cron(expression, timezone=zone).ticks(
        midnight - timedelta(microseconds=1), midnight + timedelta(days=1) - timedelta(microseconds=1)
    )
    return [tick.astimezone(ZoneInfo(zone)).strftime("%H:%M %z") for tick in ticks]


def offsets(zone: str, day: tuple[int, int, int]) -> tuple[str, str]:
    """The distances from UTC with which a day begins and ends."""
    return tuple(datetime(*day, hour, tzinfo=ZoneInfo(zone)).strftime("%z") for hour in (0, 12))  # type: ignore[return-value]


@zones
@pytest.mark.parametrize("minute", [0, 30, 59])
def test_a_fixed_time_that_the_clock_skips_runs_once_right_after_the_change(zone, minute):
    _, summer = offsets(zone, SPRING[zone])

    assert on_the_wall(f"{minute} {SKIPPED[zone]} * * *", zone, SPRING[zone]) == [f"03:00 {summer}"]


@zones
def test_fixed_times_that_fall_together_after_the_change_run_once(zone):
    _, summer = offsets(zone, SPRING[zone])

    assert on_the_wall("0,30 2,3 * * *", zone, SPRING[zone]) == [f"03:00 {summer}", f"03:30 {summer}"]


@zones
@pytest.mark.parametrize("minute", ["00", "30"])
def test_a_fixed_time_that_comes_twice_runs_once_the_first_time(zone, minute):
    summer, _ = offsets(zone, AUTUMN[zone])

    assert on_the_wall(f"{minute} {TWICE[zone]} * * *", zone, AUTUMN[zone]) == [f"0{TWICE[zone]}:{minute} {summer}"]


@zones
def test_a_fixed_time_is_not_due_again_when_its_hour_comes_again(zone):
    cron = Cron(f"45 {TWICE[zone]} * * *", timezone=zone)
    again = datetime(*AUTUMN[zone], TWICE[zone], 30, fold=1, tzinfo=ZoneInfo(zone))

    tick = cron.next_after(again)

    assert again < tick.astimezone(UTC)
    assert tick.astimezone(ZoneInfo(zone)).day == (again + timedelta(days=1)).day


@zones
def test_every_hour_is_every_real_hour(zone):
    winter, summer = offsets(zone, SPRING[zone])
    spring = on_the_wall("0 * * * *", zone, SPRING[zone])
    autumn = on_the_wall("0 * * * *", zone, AUTUMN[zone])

    assert len(spring) == 23
    assert spring[1:3] == [f"01:00 {winter}", f"03:00 {summer}"]
    assert len(autumn) == 25
    assert autumn[TWICE[zone] : TWICE[zone] + 2] == [f"0{TWICE[zone]}:00 {summer}", f"0{TWICE[zone]}:00 {winter}"]


@zones
@pytest.mark.parametrize("minutes", ["*/15", "0,15,30,45"])
def test_every_quarter_of_every_hour_is_every_real_quarter(zone, minutes):
    for day, count in ((SPRING[zone], 92), (AUTUMN[zone], 100)):
        start = datetime(*day, tzinfo=ZoneInfo(zone)).astimezone(UTC)

        ticks = Cron(f"{minutes} * * * *", timezone=zone).ticks(start - HOUR / 60, start + count * HOUR / 4 - HOUR / 60)

        assert ticks == [start + quarter * HOUR / 4 for quarter in range(count)]


@zones
def test_quarters_of_one_hour_are_skipped_and_repeated_with_it(zone):
    assert on_the_wall(f"*/15 {SKIPPED[zone]} * * *", zone, SPRING[zone]) == []
    assert len(on_the_wall(f"*/15 {TWICE[zone]} * * *", zone, AUTUMN[zone])) == 8


@given(
    expression=st.tuples(
        st.sampled_from(["0", "5", "30", "*/20", "0,59"]), st.sampled_from(["*", "1", "2", "3", "*/2", "0-4"])
    ).map(lambda parts: " ".join(parts) + " * * *"),
    zone=st.sampled_from([BERLIN, NEW_YORK]),
    start=st.integers(-(48 * 60), 48 * 60),
    season=st.sampled_from([SPRING, AUTUMN]),
)
def test_ticks_are_the_chain_of_next_ticks_and_each_is_later(expression, zone, start, season):
    cron = Cron(expression, timezone=zone)
    after = utc(*season[zone]) + timedelta(minutes=start)

    ticks = cron.ticks(after, after + 48 * HOUR)

    chain, moment = [], after
    while (moment := cron.next_after(moment)) <= after + 48 * HOUR:
        chain.append(moment)
    assert ticks == chain
    assert all(earlier < later for earlier, later in zip([after, *ticks], ticks, strict=False))
    assert all(tick.tzinfo is UTC for tick in ticks)


def test_a_leap_day_comes_in_leap_years():
    assert Cron("0 0 29 2 *").ticks(utc(2026, 1, 1), utc(2036, 12, 31)) == [
        utc(2028, 2, 29),
        utc(2032, 2, 29),
        utc(2036, 2, 29),
    ]


def test_either_day_is_enough_when_both_are_given():
    assert Cron("0 0 13 * FRI").ticks(utc(2026, 11, 10), utc(2026, 11, 20)) == [utc(2026, 11, 13), utc(2026, 11, 20)]


def test_a_tick_is_after_the_moment_and_until_includes_it():
    cron = Cron("0 3 * * *")

    assert cron.next_after(utc(2026, 1, 1, 3)) == utc(2026, 1, 2, 3)
    assert cron.next_after(utc(2026, 1, 1, 2, 59, 59, 999_999)) == utc(2026, 1, 1, 3)
    assert cron.ticks(utc(2026, 1, 1, 3), utc(2026, 1, 2, 3)) == [utc(2026, 1, 2, 3)]
    assert cron.ticks(utc(2026, 1, 2, 3), utc(2026, 1, 1, 3)) == []


def test_only_so_many_ticks_are_given_oldest_first():
    ticks = Cron("* * * * *").ticks(utc(2026, 1, 1), utc(2027, 1, 1), most=2)

    assert ticks == [utc(2026, 1, 1, 0, 1), utc(2026, 1, 1, 0, 2)]


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
def test_missed_ticks_run_by_the_misfire_policy(misfire, grace, hours):
    cron = Cron("0 * * * *", misfire=misfire)

    assert cron.due(LAST, NOW, grace=grace) == [utc(2026, 1, 1, hour) for hour in hours]


@pytest.mark.parametrize("misfire", ["all", "once", "skip"])
def test_nothing_is_due_before_the_next_tick(misfire):
    cron = Cron("0 * * * *", misfire=misfire)

    assert cron.due(LAST, LAST + HOUR - timedelta(microseconds=1), grace=HOUR) == []
    assert cron.due(LAST, LAST + HOUR, grace=timedelta(0)) == [LAST + HOUR]
    assert cron.due(LAST, LAST - HOUR, grace=HOUR) == []


def test_a_long_outage_is_made_up_for_in_portions():
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
def test_once_is_the_last_of_all(expression, seconds, start):
    last = start.replace(tzinfo=UTC)
    now = last + timedelta(seconds=seconds)
    cron = Cron(expression, timezone=BERLIN, misfire="once")

    assert cron.due(last, now, grace=timedelta(0)) == cron.ticks(last, now, most=100_000)[-1:]


def test_once_does_not_walk_through_years_of_minutes():
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
def test_an_expression_that_can_never_be_right_is_refused_and_the_fault_is_named(expression, says):
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
def test_a_name_that_cron_knows_stands_for_its_five_fields(name, fields):
    assert Cron(name) == Cron(fields)


@pytest.mark.parametrize("expression", ["0 0 L * *", "0 0 LW * *", "0 0 * * 5L", "0 0 * * mon#2", "0 0 * jan-mar 1-5"])
def test_names_and_last_days_are_taken(expression):
    assert Cron(expression).next_after(LAST) > LAST


@pytest.mark.parametrize("zone", ["", "Mars/Olympus", "America", "../etc/passwd", "/etc/passwd", "zone.tab", "a\0b"])
def test_a_time_zone_that_nobody_knows_is_refused(zone):
    with pytest.raises(ValueError, match="is not known; write its IANA name"):
        Cron("0 0 * * *", timezone=zone)


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (lambda cron: cron.next_after(datetime(2026, 1, 1)), "has no time zone"),  # noqa: DTZ001
        (lambda cron: cron.ticks(LAST, datetime(2026, 1, 1)), "has no time zone"),  # noqa: DTZ001
        (lambda cron: cron.ticks(LAST, NOW, most=0), "most is a whole number"),
        (lambda cron: cron.due(LAST, NOW, grace=timedelta(seconds=-1)), "grace is not negative"),
    ],
)
def test_a_question_without_an_answer_is_refused(ask, says):
    with pytest.raises(ValueError, match=says):
        ask(Cron("0 0 * * *"))


def test_an_unknown_misfire_policy_is_refused():
    with pytest.raises(ValueError, match='misfire is "skip", "once" or "all"'):
        Cron("0 0 * * *", misfire="never")  # type: ignore[arg-type]
