import pandas as pd
import polars as pl
import pytest

from data.errors import DataError
from data.interval import infer_interval


def frame(times: pd.DatetimeIndex | list[str], zone: str = "UTC", series: str = "a") -> pl.DataFrame:
    index = pd.DatetimeIndex(times)
    index = index.tz_localize(zone) if index.tz is None else index.tz_convert(zone)
    time = pl.Series(index.tz_convert("UTC").as_unit("us").asi8).cast(pl.Datetime("us", "UTC"))
    return pl.DataFrame({"series": [series] * len(index), "time": time.dt.convert_time_zone(zone)})


@pytest.mark.parametrize(
    ("freq", "interval"),
    [
        ("5min", "5m"),
        ("90min", "90m"),
        ("h", "1h"),
        ("6h", "6h"),
        ("D", "1d"),
        ("2D", "2d"),
        ("W-SUN", "1w"),
        ("14D", "2w"),
        ("28D", "4w"),
        ("91D", "13w"),
        ("MS", "1mo"),
        ("ME", "1mo"),
        ("BME", "1mo"),
        ("2MS", "2mo"),
        ("QE", "1q"),
        ("QS-FEB", "1q"),
        ("6MS", "2q"),
        ("YE", "1y"),
        ("5YS", "5y"),
        ("B", "1d"),
    ],
)
def test_the_usual_intervals_are_recognised(freq, interval):
    assert infer_interval(frame(pd.date_range("2019-01-01", periods=60, freq=freq))) == interval


@pytest.mark.parametrize("freq", ["30min", "h", "D", "MS"])
def test_a_clock_change_does_not_mislead(freq):
    interval = {"30min": "30m", "h": "1h", "D": "1d", "MS": "1mo"}[freq]
    assert (
        infer_interval(frame(pd.date_range("2020-10-24", periods=12, freq=freq, tz="Europe/Paris"), "Europe/Paris"))
        == interval
    )


def test_the_order_of_rows_holes_and_repetitions_do_not_matter():
    times = pd.date_range("2024-01-01", periods=80, freq="h")
    kept = times.delete([5, 6, 40]).append(times[:3])
    shuffled = frame(kept).sample(fraction=1, shuffle=True, seed=1)
    assert infer_interval(shuffled) == "1h"


def test_two_months_are_enough_to_see_that_they_are_months():
    assert infer_interval(frame(["2024-01-31", "2024-02-29", "2024-03-31"])) == "1mo"


def test_a_gap_between_two_series_is_no_gap():
    both = pl.concat([frame(pd.date_range("2024-01-01", periods=3, freq="D")), frame(["2024-01-01 07:13"], series="b")])
    assert infer_interval(both) == "1d"


def test_gaps_that_disagree_are_named():
    times = frame(["2024-01-01 00:00", "2024-01-01 01:00", "2024-01-01 01:25", "2024-01-01 02:25"])
    with pytest.raises(DataError) as error:
        infer_interval(times)
    assert str(error.value) == (
        "no single interval fits the times: the gap is 1:00:00 before 2024-01-01 01:00 in series 'a' but "
        "0:25:00 before 2024-01-01 01:25 in series 'a' (1 of 3 gaps disagree); "
        "bring each series to one row a step first, or set data.interval where few rows are off it"
    )


def test_times_at_odd_seconds_are_called_irregular_not_short():
    with pytest.raises(DataError, match="no single interval fits the times.*one row a step first"):
        infer_interval(frame(["2024-01-01 00:00:00", "2024-01-01 01:28:25", "2024-01-01 01:31:07"]))


def test_a_single_time_has_no_interval():
    with pytest.raises(DataError, match="no series has two different times.*set data.interval"):
        infer_interval(frame(["2024-01-01"]))


def test_steps_of_seconds_are_refused():
    with pytest.raises(DataError, match="times are 10 seconds apart"):
        infer_interval(frame(pd.date_range("2024-01-01", periods=9, freq="10s")))
