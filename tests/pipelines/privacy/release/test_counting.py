"""True counts are what a slow loop counts, and one person moves them by no more than the sensitivity."""

import math

import numpy as np
import polars as pl
import pytest

from data.errors import DataError, TooManyRejected
from pipelines.errors import StoreError
from pipelines.privacy.release.charging import assumptions
from pipelines.privacy.release.counting import count, require_own_times
from pipelines.privacy.release.domain import domain_of
from pipelines.privacy.secret_key import contribution_key
from pipelines.sources import sources_of
from pipelines.spec import Spec, parse_spec


def counted(spec: Spec, periods: list[str] | None = None) -> np.ndarray:
    domain = domain_of(spec, spec.privacy)
    return count(domain, sources_of(spec), domain.steps_in(periods or list(domain.revisions)))


UNBOUNDED = {"trips_per_unit": 10_000, "trips_per_cell": 10_000}


@pytest.mark.parametrize("what", ["nodes", "flows"])
def test_unbounded_counts_are_those_of_a_slow_loop(make, folder, what):
    found = counted(make(privacy={**UNBOUNDED, "counts": what}))
    expected = np.zeros(found.shape, dtype=np.int64)
    place = {"a": 0, "b": 1, "c": 2, "d": 3}
    start = np.datetime64("2024-03-04")
    for row in pl.read_csv(folder / "trips1.csv", try_parse_dates=True).unique().iter_rows(named=True):
        leaving, reaching = (int((np.datetime64(row[t]) - start) / np.timedelta64(1, "h")) for t in ("begin", "finish"))
        source, target = place[row["from"]], place[row["to"]]
        if what == "flows":
            expected[leaving, source, target] += 1
        else:
            expected[leaving, source, 1] += 1
            if reaching < len(expected):
                expected[reaching, target, 0] += 1
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("what", ["nodes", "flows"])
def test_no_rider_moves_the_counts_of_a_day_by_more_than_the_sensitivity(make, folder, what):
    """Riders 1 and 60 have far more trips than count, most of the others fewer."""
    spec = make(privacy={"counts": what})
    domain = domain_of(spec, spec.privacy)
    bound = domain.sensitivity(np.ones(len(domain.index), dtype=bool))
    rows = pl.read_csv(folder / "trips1.csv")
    whole, reached = counted(spec), 0
    for rider in (1, 2, 17, 60):
        for day in (4, 11):
            gone = (pl.col("rider") == rider) & (pl.col("begin").str.starts_with(f"2024-03-{day:02}"))
            rows.filter(~gone).write_csv(folder / "trips1.csv")
            moved = whole - counted(spec)
            assert (moved >= 0).all()
            assert moved.sum() <= bound.l1
            assert math.sqrt((moved**2).sum()) <= bound.l2 + 1e-9
            reached = max(reached, moved.sum())
    assert reached >= bound.l1 - 1, "the bound is met, so a smaller one would have failed"


def test_a_draw_depends_on_trips_of_its_own_periods_alone(make, folder):
    """Trips that begin on another day and end within are left out, as that day is not charged."""
    spec = make(privacy=UNBOUNDED)
    drawn = counted(spec, ["2024-03-07"])
    assert (drawn[:72] == 0).all()
    assert (drawn[96:] == 0).all()
    rows = pl.read_csv(folder / "trips1.csv")
    rows.filter(pl.col("begin").str.starts_with("2024-03-07")).write_csv(folder / "trips1.csv")
    np.testing.assert_array_equal(counted(spec, ["2024-03-07"]), drawn)
    assert drawn[72:96].sum() > 500


def test_dates_that_the_rows_decide_about_together_are_refused(make, folder):
    """With 20/02 in one more row all the 03/02 would be the third of February and not the second of March."""
    rows = pl.read_csv(folder / "trips1.csv", try_parse_dates=True)
    slashed = [pl.col(time).dt.strftime("%d/%m/%Y %H:%M") for time in ("begin", "finish")]
    rows.with_columns(slashed).write_csv(folder / "trips1.csv")
    spec = make()
    with pytest.raises(DataError, match=r"'begin' has dates such as 01/02/2020.*write them year first"):
        require_own_times(domain_of(spec, spec.privacy), sources_of(spec))


def test_rows_that_are_wrong_are_told_to_their_owner_and_to_no_log(make, folder, home):
    rows = pl.read_csv(folder / "trips1.csv")
    rows.with_columns(pl.lit("a secret place").alias("to")).write_csv(folder / "trips1.csv")
    with pytest.raises(TooManyRejected) as error:
        counted(make())
    assert "5,600" not in str(error.value)
    assert "a secret place" not in str(error.value)
    examples = next((home / "quarantine").iterdir())
    assert str(examples) in str(error.value)
    assert "a secret place" in examples.read_text()
    assert examples.stat().st_mode & 0o077 == 0


def test_the_key_is_its_owners_alone_and_stays(home):
    key = contribution_key()
    assert (home / "contribution.key").stat().st_mode & 0o777 == 0o600
    assert contribution_key() == key
    (home / "contribution.key").chmod(0o644)
    with pytest.raises(StoreError, match="can be read by others"):
        contribution_key()


# ---------------------------------------------------------------- counts of trips


def od_spec(folder, rows: list[str]) -> Spec:
    (folder / "od.csv").write_text("\n".join(["time,source,target,weight", *rows, ""]))
    return parse_spec(
        {
            "name": "od",
            "data": {
                "kind": "od",
                "files": "od.csv",
                "start": "2024-03-04",
                "end": "2024-03-06",
                "zones": {"file": "zones.csv", "id": "zone"},
            },
            "privacy": {"mechanism": "release", "unit": "trip", "epsilon": 1.0, "counts": "flows"},
        },
        folder=folder,
    )


def test_counts_of_trips_are_taken_as_they_are(folder):
    found = counted(od_spec(folder, ["2024-03-04 01:00,a,b,5", "2024-03-05 23:00,c,a,2"]))
    assert found[1, 0, 1] == 5
    assert found[47, 2, 0] == 2
    assert found.sum() == 7


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["2024-03-04 01:00,a,b,5", "2024-03-04 01:00,a,b,5"], "repeat the time, source and target"),
        (["2024-03-04 01:00,a,b,5", "2024-03-04 01:00,a,b,6"], "repeat the time, source and target"),
        (["2024-03-04 01:00,a,b,5.5"], "no whole numbers"),
    ],
)
def test_counts_of_which_one_trip_could_move_more_than_one_are_refused(folder, rows, message):
    spec = od_spec(folder, rows)
    spec = spec.model_copy(update={"data": spec.data.model_copy(update={"max_rejected_share": 1.0})})
    with pytest.raises(DataError, match=message):
        counted(spec)


# ---------------------------------------------------------------- counts of who is present


def wide_spec(folder, *, gap: bool = False, sums: dict | None = None, hole: str = "", value: str = "7") -> Spec:
    hours = [f"2024-03-{4 + hour // 24:02} {hour % 24:02}:00" for hour in range(48)]
    rows = [f"{time},{value},{hour},{hour + 7}" for hour, time in enumerate(hours) if time != hole]
    (folder / "wide.csv").write_text("\n".join(["time,north,south,total", *rows, ""]))
    missing = [{"variable": "y", "start": "2024-03-04 05:00", "end": "2024-03-04 06:00"}] if gap else []
    return parse_spec(
        {
            "name": "present",
            "data": {
                "kind": "wide",
                "files": "wide.csv",
                "interval": "1h",
                "values": "counts",
                "start": "2024-03-04",
                "end": "2024-03-06",
                "columns": {"values": ["north", "south", "total"]},
                "unobserved": missing,
            },
            "privacy": {
                "mechanism": "release",
                "unit": "user_day",
                "epsilon": 1.0,
                "one_place_per_step": True,
                "sums": sums or {},
            },
        },
        folder=folder,
    )


def test_a_missing_value_is_public_or_refused(folder):
    hole = "2024-03-04 05:00"
    with pytest.raises(DataError, match="3 values are missing, the first at 2024-03-04T05"):
        counted(wide_spec(folder, hole=hole))
    spec = wide_spec(folder, hole=hole, gap=True)
    assert counted(spec)[4:7, 1, 0].tolist() == [4, 0, 6]
    assert not domain_of(spec, spec.privacy).mask[5].any()


def test_a_person_is_in_each_step_once_and_in_the_sums_of_nodes_too(folder):
    flat, nested = wide_spec(folder), wide_spec(folder, sums={"total": ["north", "south"]})
    everything = np.ones(48, dtype=bool)
    assert domain_of(flat, flat.privacy).sensitivity(everything).l1 == 24
    assert domain_of(nested, nested.privacy).sensitivity(everything).l1 == 48
    hidden = wide_spec(folder, gap=True)
    assert domain_of(hidden, hidden.privacy).sensitivity(everything).l1 == 24, "the other day has all of its steps"


def test_of_running_totals_the_claim_assumes_that_nobody_is_taken_off_again(folder):
    """By how much counts of who is present grew would tell of whoever left a second time, on the next day perhaps."""
    spec = wide_spec(folder)
    totals = spec.model_copy(update={"data": spec.data.model_copy(update={"difference": True})})
    assert assumptions(domain_of(spec, spec.privacy)) == (
        "a person is in one node at most at a time and counts once a step",
    )
    assert "never taken off" in assumptions(domain_of(totals, totals.privacy))[0]


def test_values_that_are_no_whole_numbers_are_refused(folder):
    with pytest.raises(DataError, match="no whole numbers"):
        counted(wide_spec(folder, value="7.5"))
