"""The figures of a row of the table, and how they compare with those of its floor."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.process_usage import Cpu


@dataclass(frozen=True)
class Figures:
    """What a measure has found.

    Attributes:
        ours: in the unit of the row.
        floor: the floor's figures, measured in the same run; empty without a floor.
        ratios: the first of ours divided by the floor's, one for each round.
        cpu: for each unit of work.
        floor_cpu: the floor's.
    """

    ours: tuple[float, ...]
    floor: tuple[float, ...] = ()
    ratios: tuple[float, ...] = ()
    cpu: Cpu | None = None
    floor_cpu: Cpu | None = None

    @property
    def ratio(self) -> float | None:
        return statistics.median(self.ratios) if self.ratios else None


@dataclass(frozen=True)
class Round:
    """One round of ours or of the floor: a figure, and the CPU time of each unit of work."""

    figure: float
    cpu: Cpu | None = None


@dataclass(frozen=True)
class Durations:
    """One round of ours or of the floor: the milliseconds of single calls, and the CPU time of each.

    Attributes:
        is_p95: whether rounds are compared by their p95; otherwise by their medians.
    """

    milliseconds: list[float]
    cpu: Cpu | None = None
    is_p95: bool = False

    @property
    def figure(self) -> float:
        return percentiles(self.milliseconds)[self.is_p95]


def compare(ours: Sequence[Round], floor: Sequence[Round]) -> Figures:
    """The median figures, and the mean CPU time, of rounds that were made in turn."""
    return Figures(
        ours=(statistics.median(each.figure for each in ours),),
        floor=(statistics.median(each.figure for each in floor),),
        ratios=ratios_of(ours, floor),
        cpu=mean_cpu(ours),
        floor_cpu=mean_cpu(floor),
    )


def compare_durations(ours: Sequence[Durations], floor: Sequence[Durations]) -> Figures:
    """p50 and p95 of all calls, and the ratio of each round."""
    return Figures(
        ours=percentiles([each for durations in ours for each in durations.milliseconds]),
        floor=percentiles([each for durations in floor for each in durations.milliseconds]),
        ratios=ratios_of(ours, floor),
        cpu=mean_cpu(ours),
        floor_cpu=mean_cpu(floor),
    )


def ratios_of(ours: Sequence[Round | Durations], floor: Sequence[Round | Durations]) -> tuple[float, ...]:
    return tuple(one.figure / other.figure for one, other in zip(ours, floor, strict=True))


def mean_cpu(rounds: Sequence[Round | Durations]) -> Cpu | None:
    known = [each.cpu for each in rounds if each.cpu is not None]
    return Cpu.mean(known) if known else None


def percentiles(values: list[float]) -> tuple[float, float]:
    """p50 and p95."""
    return statistics.median(values), statistics.quantiles(values, n=20)[-1]
