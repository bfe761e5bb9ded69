"""Blocks: the pieces of a data set that have a budget of their own, and how many of them are written as few.

A block is a local day "2023-01-05" (units trip, window, slot, user_day), an ISO week "2023-W01" (user_week) or a named
span (user).
"""

import re
from collections.abc import Hashable, Iterable, Mapping
from datetime import date, timedelta
from functools import lru_cache
from typing import TypeVar

from pipelines.privacy.mechanisms import Unit

KIND: dict[Unit, str] = {
    "trip": "day",
    "window": "day",
    "slot": "day",
    "user_day": "day",
    "user_week": "week",
    "user": "span",
}
EXAMPLE = {"day": "2023-01-05", "week": "2023-W01", "span": "the policy's span"}
TO = ".."
Same = TypeVar("Same", bound=Hashable)


def is_block(name: str, kind: str) -> bool:
    if kind == "span":
        return bool(name.strip()) and TO not in name
    return _ordinal(name, kind) is not None


@lru_cache(maxsize=20_000)
def kind_of(name: str) -> str:
    if _ordinal(name, "day") is not None:
        return "day"
    return "week" if _ordinal(name, "week") is not None else "span"


def fold(blocks: Iterable[str]) -> list[str]:
    """Consecutive days or weeks as "first..last", in order."""
    return [together for together, _ in fold_equal(dict.fromkeys(blocks, ""))]


def fold_equal(values: Mapping[str, Same]) -> list[tuple[str, Same]]:
    """Runs of consecutive blocks with equal values, as ("first..last", value)."""
    runs: list[tuple[str, str, Same]] = []
    for block in sorted(values):
        if runs and _follows(runs[-1][1], block) and runs[-1][2] == values[block]:
            runs[-1] = (runs[-1][0], block, values[block])
        else:
            runs.append((block, block, values[block]))
    return [(first if first == last else f"{first}{TO}{last}", value) for first, last, value in runs]


def unfold(ranges: Iterable[str]) -> tuple[str, ...]:
    """Every block of ranges that `fold` wrote."""
    blocks: list[str] = []
    for written in ranges:
        first, _, last = written.partition(TO)
        blocks.append(first)
        while last and blocks[-1] != last:
            blocks.append(_next(blocks[-1]))
    return tuple(blocks)


def is_range(chosen: str) -> bool:
    """Whether a person typed blocks: an end that begins like a date must be a day or a week that there is."""
    ends = [end for end in chosen.split(TO) if end]
    return bool(ends) and not any(re.match(r"\d{4}-W?\d", end) and kind_of(end) == "span" for end in ends)


def within(block: str, chosen: str | None) -> bool:
    """Whether `block` lies in a range "first..last" that a person typed; days compare with days, as text."""
    if not chosen:
        return True
    first, to, last = chosen.partition(TO)
    return (not first or block >= first) and (block <= last if last else bool(to) or block == first)


def _follows(before: str, after: str) -> bool:
    kind = kind_of(before)
    return kind != "span" and kind == kind_of(after) and _next(before) == after


@lru_cache(maxsize=20_000)
def _next(block: str) -> str:
    if kind_of(block) == "day":
        return (date.fromisoformat(block) + timedelta(days=1)).isoformat()
    year, week = block.split("-W")
    after = date.fromisocalendar(int(year), int(week), 1) + timedelta(weeks=1)
    found = after.isocalendar()
    return f"{found.year:04d}-W{found.week:02d}"


@lru_cache(maxsize=20_000)
def _ordinal(name: str, kind: str) -> int | None:
    try:
        if kind == "day" and re.fullmatch(r"\d{4}-\d\d-\d\d", name, re.ASCII):
            return date.fromisoformat(name).toordinal()
        if kind == "week" and re.fullmatch(r"\d{4}-W\d\d", name, re.ASCII):
            return date.fromisocalendar(int(name[:4]), int(name[6:]), 1).toordinal()
    except ValueError:
        return None
    return None
