"""What one unit adds to counts is bounded, and nobody else's trips have a say in it."""

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from data.contribution import bound_contributions

CELLS = {"flows": [["slot", "source", "target"]], "nodes": [["slot", "source"], ["arrival", "target"]]}
SECRET = b"a key of the tests' own"


def made_up(seed: int, riders: int = 40, trips: int = 600) -> pl.DataFrame:
    """Few zones and slots and a Zipf of riders, so that every bound binds."""
    draw = np.random.default_rng(seed)
    start = draw.integers(0, 3 * 24, trips)  # hours of three days
    return pl.DataFrame(
        {
            "person": np.minimum(draw.zipf(1.5, trips), riders),
            "day": start // 24,
            "slot": start // 6,
            "arrival": (start + draw.integers(0, 8, trips)) // 6,
            "source": draw.choice(["a", "b", "c"], trips),
            "target": draw.choice(["a", "b", "c"], trips),
            "trip": np.arange(trips),
        }
    )


def bounded(trips: pl.DataFrame, cells: str = "flows", *, k: int = 6, c: int = 2, **chosen: object) -> pl.DataFrame:
    asked = {"secret": SECRET, "release": "made-up/1"} | chosen
    return bound_contributions(
        trips,
        unit=["person", "day"],
        cells=CELLS[cells],
        trip=["person", "trip"],
        most_per_unit=k,
        most_per_cell=c,
        **asked,
    )


@pytest.mark.parametrize("cells", CELLS)
@pytest.mark.parametrize(("k", "c"), [(1, 1), (5, 2), (6, 2), (20, 3)])
def test_no_unit_exceeds_a_bound(cells: str, k: int, c: int) -> None:
    for seed in range(5):
        kept = bounded(made_up(seed), cells, k=k, c=c)
        assert kept.group_by("person", "day").len()["len"].max() <= k
        for cell in CELLS[cells]:
            assert kept.group_by("person", "day", *cell).len()["len"].max() <= c


@pytest.mark.parametrize("cells", CELLS)
def test_removing_one_person_changes_nobody_elses_trips_and_at_most_k_a_day(cells: str) -> None:
    trips = made_up(0)
    with_all = bounded(trips, cells)
    for person in trips["person"].unique():
        without = bounded(trips.filter(pl.col("person") != person), cells)
        assert_frame_equal(without, with_all.filter(pl.col("person") != person))
        own = with_all.filter(pl.col("person") == person)
        assert own.group_by("day").len()["len"].max() <= 6


def test_what_fits_the_bounds_is_kept_in_its_order() -> None:
    trips = made_up(1)
    assert_frame_equal(bounded(trips, k=600, c=600), trips)


def test_the_same_key_and_release_select_the_same_trips_whatever_the_order_of_the_rows() -> None:
    trips = made_up(2)
    kept = bounded(trips)["trip"].to_list()
    assert bounded(trips)["trip"].to_list() == kept
    assert sorted(bounded(trips.reverse())["trip"]) == kept


@pytest.mark.parametrize("other", [{"secret": b"another key"}, {"release": "made-up/2"}])
def test_another_key_or_release_selects_other_trips(other: dict[str, object]) -> None:
    trips = made_up(3)
    assert bounded(trips, **other)["trip"].to_list() != bounded(trips)["trip"].to_list()


def test_the_selection_is_no_function_of_the_time_of_day() -> None:
    """One trip in each of 24 hours; if the first counted, all would be from the morning."""
    trips = pl.DataFrame({"person": range(4000)}).join(pl.DataFrame({"slot": range(24)}), how="cross")
    trips = trips.with_columns(day=0, source=pl.lit("a"), target=pl.lit("b"), trip=pl.col("slot"))
    mean = float(bounded(trips, k=1)["slot"].mean())  # type: ignore[arg-type]
    assert abs(mean - 11.5) < 0.55, "5 standard errors of the mean of 4,000 uniform hours"


def test_times_are_told_apart_to_the_microsecond() -> None:
    times = [datetime(2023, 1, 1, 8) + timedelta(microseconds=i) for i in range(50)]
    trips = pl.DataFrame({"person": ["x"] * 50, "time": times})
    chosen = {
        release: bound_contributions(
            trips,
            unit=["person"],
            cells=[["time"]],
            trip=["time"],
            most_per_unit=1,
            most_per_cell=1,
            secret=SECRET,
            release=release,
        )["time"].item()
        for release in "abcdefgh"
    }
    assert len(set(chosen.values())) > 3


@pytest.mark.parametrize("bounds", [{"k": 0}, {"c": 0}])
def test_a_bound_of_nothing_is_refused(bounds: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="leave nothing"):
        bounded(made_up(0), **bounds)
