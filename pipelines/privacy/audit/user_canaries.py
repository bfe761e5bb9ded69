"""User canaries: synthetic persons with far more trips than a person may count, among the raw trips.

They are added before contributions are bounded, so bounding, counting and noise are audited together. Every person has
a random pattern of its own: k / c cells (a step, a source, a target) with `excess` times c trips each, of which a right
bound lets c count in each. That is the worst case of the L2 sensitivity √(k c). A bound that is not applied lets all
count, and the score is `excess` times as high.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt
import polars as pl

from pipelines.privacy.audit.canaries import Coins

EXCESS = 8


@dataclass(frozen=True)
class UserCanaries:
    """m persons: `cells` [m, K] number the cells of each one's pattern, `trips` are their raw trips."""

    cells: npt.NDArray[np.int64]
    trips: pl.DataFrame  # person, start (aware), end, source, target; the person's number is in `canary`


def user_canaries(
    count: int,
    *,
    units: list[list[datetime]],
    zones: list[str],
    trips_per_unit: int,
    trips_per_cell: int,
    seed: int,
    excess: int = EXCESS,
    minutes: float = 1.0,
) -> UserCanaries:
    """`count` persons, each in one of the `units` (a day, a week, ...), given as the starts of its steps.

    A cell's number is ((unit, step within all units), source, target) in C order. All trips of a person start within a
    minute of the step's start and last `minutes`, so that each counts in one cell. Raises ValueError for a unit with
    fewer cells than the pattern needs.
    """
    rng = np.random.default_rng([seed, 0])
    wanted = max(1, trips_per_unit // trips_per_cell)
    pairs = len(zones) ** 2
    first = np.cumsum([0] + [len(unit) for unit in units])  # of each unit's steps among all
    steps = [step for unit in units for step in unit]
    if wanted > min(len(unit) for unit in units) * pairs:
        raise ValueError(
            f"a pattern needs {wanted} cells, and the shortest unit has {min(map(len, units)) * pairs}; "
            "choose a smaller trips_per_unit, or units with more steps"
        )
    cells = np.empty((count, wanted), dtype=np.int64)
    for i in range(count):
        unit = rng.integers(len(units))
        own = rng.choice(len(units[unit]) * pairs, wanted, replace=False)
        cells[i] = first[unit] * pairs + own
    return UserCanaries(cells, _trips(cells, steps, zones, each=excess * trips_per_cell, minutes=minutes))


def _trips(
    cells: npt.NDArray[np.int64], steps: list[datetime], zones: list[str], *, each: int, minutes: float
) -> pl.DataFrame:
    step, source, target = np.unravel_index(np.repeat(cells.ravel(), each), (len(steps), len(zones), len(zones)))
    person = np.repeat(np.arange(len(cells)), cells.shape[1] * each)
    late = np.arange(len(person)) % 50_000_000  # microseconds: no two rows are the same, which would be duplicates
    start = [steps[s] + timedelta(microseconds=int(m)) for s, m in zip(step, late, strict=True)]
    return pl.DataFrame(
        {
            "canary": person,
            "person": [f"canary-{i}" for i in person],
            "start": start,
            "end": [moment + timedelta(minutes=minutes) for moment in start],
            "source": [zones[s] for s in source],
            "target": [zones[t] for t in target],
        }
    )


def those_in(canaries: UserCanaries, included: Coins) -> pl.DataFrame:
    """The trips of the persons that are in."""
    return canaries.trips.filter(pl.col("canary").is_in(np.flatnonzero(included))).drop("canary")


def matched_filter(canaries: UserCanaries, released: npt.NDArray, expected: npt.NDArray) -> npt.NDArray[np.float64]:
    """Of each person, the sum over the pattern of released less expected counts, [m].

    `released` and `expected` [steps, zones, zones] are the noised counts, and those of the trips without canaries.
    """
    surplus = (released.astype(np.float64) - expected).ravel()
    return surplus[canaries.cells].sum(axis=1)
